"""Classes of members that are put together."""

from __future__ import annotations

import torch

from graphwright.passes.quantization.weight_folds.classes import Classes
from tests.tensors import listed


def test_members_are_put_together_in_any_order() -> None:
    classes = Classes(6)
    # Equal members beside unequal ones, and one larger member with two others.
    classes.merge(torch.tensor([5, 5, 5, 2]), torch.tensor([3, 5, 1, -1]))
    assert listed(classes.of(torch.arange(-1, 6))) == [-1, 0, 1, 2, 1, 4, 1]
    numbers, count = classes.numbered()
    assert (listed(numbers), count) == ([0, 1, 2, 1, 3, 1], 4)


def test_tensors_broadcast() -> None:
    classes = Classes(4)
    classes.merge(torch.tensor([[0, 1], [2, 3]]), torch.tensor([[0, 1]]))
    assert listed(classes.numbered()[0]) == [0, 1, 0, 1]
