"""Hadamard matrices of many orders, and that rotations are rotations."""

from __future__ import annotations

import pytest
import torch

from graphwright.passes.quantization.weight_folds import hadamard, rotation


@pytest.mark.parametrize("size", [1, 2, 4, 12, 20, 28, 36, 64, 76, 576, 896, 1536])
def test_rows_are_orthogonal(size: int) -> None:
    matrix = hadamard(size)
    assert matrix is not None
    assert bool((matrix.abs() == 1).all())
    assert torch.equal(matrix @ matrix.T, size * torch.eye(size, dtype=torch.float64))


@pytest.mark.parametrize("size", [3, 6, 50, 92, 172])
def test_orders_without_a_construction(size: int) -> None:
    assert hadamard(size) is None
    assert rotation(size, 0, keep_mean=False) is None


@pytest.mark.parametrize("size", [1, 2, 28, 64])
@pytest.mark.parametrize("keep_mean", [False, True])
def test_rotations_are_orthogonal_and_spread(size: int, keep_mean: bool) -> None:
    matrix = rotation(size, 3, keep_mean)
    assert matrix is not None
    ones = torch.ones(size, dtype=torch.float64)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(size, dtype=torch.float64))
    if keep_mean:
        torch.testing.assert_close(matrix @ ones, ones)
    assert size < 28 or matrix.abs().max() < 0.7


def test_seeds_differ() -> None:
    one, other = rotation(64, 0, keep_mean=False), rotation(64, 1, keep_mean=False)
    assert one is not None
    assert other is not None
    assert not torch.equal(one, other)
