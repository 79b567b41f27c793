"""Products of computed tensors: batches that broadcast, sizes known and not, that fill no vector."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from graphwright.backends.tvm.cpu import AVX2, GENERIC, Cpu, host_cpu
from graphwright.backends.tvm.kernels.matmul import Size, broadcast_shape, matmul
from graphwright.ir import ops
from tests.backends.tvm.kernels.floats import function, rounding_bound
from tests.backends.tvm.kernels.standalone import written


def _check(cpu: Cpu, x_shape: Sequence[Size], y_shape: Sequence[Size], cases: Sequence[dict[str, int]]) -> None:
    multiply = function(written("matmul", matmul, cpu, x_shape=x_shape, y_shape=y_shape), cpu)
    for lengths in cases:

        def random(shape: Sequence[Size], lengths: dict[str, int] = lengths) -> torch.Tensor:
            return torch.randn([n if isinstance(n, int) else lengths[n] for n in shape])

        x, y = random(x_shape), random(y_shape)
        z = torch.full_like(random((*broadcast_shape(x_shape[:-2], y_shape[:-2]), x_shape[-2], y_shape[-1])), torch.nan)
        multiply(x, y, z)
        expected = ops.matmul.evaluate([x.double(), y.double()], {})
        bound = rounding_bound(x.double().abs() @ y.double().abs(), x.shape[-1])
        assert z.shape == expected.shape
        assert bool(((z.double() - expected).abs() <= bound).all()), lengths


@pytest.mark.parametrize("cpu", [GENERIC, AVX2, host_cpu()], ids=["generic", "avx2", "host"])
def test_sizes_that_arguments_give(cpu: Cpu) -> None:
    lengths = [{"b": 2, "m": 3, "k": 5, "n": 7}, {"b": 1, "m": 1, "k": 1, "n": 1}, {"b": 3, "m": 2, "k": 20, "n": 301}]
    _check(cpu, ("b", 3, "m", "k"), ("b", 3, "k", "n"), lengths)


@pytest.mark.parametrize(
    ("x_shape", "y_shape"),
    [
        ((4, 6), (6, 33)),
        ((2, 1, 4, 6), (3, 6, 16)),
        ((1, 4, 6), (5, 2, 6, 8)),
        (("b", 1, 4, 6), (1, 3, 6, 130)),
    ],
)
def test_batches_that_broadcast(x_shape: Sequence[Size], y_shape: Sequence[Size]) -> None:
    _check(host_cpu(), x_shape, y_shape, [{"b": 2}])
