"""Which numbers of a weight are left out, given how much each matters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from graphwright.ir.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

Pattern = Literal["unstructured", "2:4"]
"""Anywhere, or two of each four inputs in a row, which sparse tensor cores multiply by."""

CELL, LEFT_OUT = 4, 2


def lowest(scores: Tensor, count: int) -> Tensor:
    """True for the `count` lowest scores along the last axis; of equal ones those that stand first."""
    order = scores.argsort(dim=-1, stable=True)[..., :count]
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, order, True)


def lowest_of_row(scores: Tensor, sparsity: float) -> Tensor:
    """That part of each row [out, in], rounded to a whole number of weights."""
    return lowest(scores, round(sparsity * scores.shape[-1]))


def lowest_of_matrix(scores: Tensor, sparsity: float) -> Tensor:
    """That part of the whole matrix [out, in], wherever it stands."""
    return lowest(scores.flatten(), round(sparsity * scores.numel())).reshape(scores.shape)


def lowest_of_cells(scores: Tensor) -> Tensor:
    """Two of each four inputs of a row [out, in]; a last cell that is cut short counts as if it ended in zeros."""
    padded = torch.nn.functional.pad(scores, (0, -scores.shape[-1] % CELL), value=-torch.inf)
    cells = padded.reshape(*padded.shape[:-1], padded.shape[-1] // CELL, CELL)
    return lowest(cells, LEFT_OUT).flatten(-2).narrow(-1, 0, scores.shape[-1])
