"""SparseGPT (Frantar and Alistarh 2023): weights are left out one input after another, and those that are left make up
for it, by the optimal brain surgeon with the second moment of the inputs as the Hessian."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.lazy import torch
from graphwright.passes.compression.masks import CELL, Pattern, lowest_of_cells, lowest_of_matrix
from graphwright.passes.compression.moments import inverse_factor

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 128
"""Inputs over which an unstructured mask is chosen at once, and after which the inputs behind them are updated."""


def sparsegpt(weight: Tensor, moment: Tensor, sparsity: float, pattern: Pattern) -> Tensor:
    """The pruned weight f64 [out, in] for inputs of that second moment [in, in].

    Without a pattern the part `sparsity` of each block of inputs is left out, all rows together.
    """
    result, factor = weight.double().clone(), inverse_factor(moment)
    for start in range(0, weight.shape[1], BLOCK):
        part = slice(start, start + BLOCK)
        errors = _prune_block(result[:, part], factor[part, part], sparsity, pattern)
        result[:, start + BLOCK :] -= errors @ factor[part, start + BLOCK :]
    return result


def _prune_block(block: Tensor, factor: Tensor, sparsity: float, pattern: Pattern) -> Tensor:
    """Prunes a block [out, n] in place; returns what the inputs behind it have to make up for, [out, n]."""
    pivots = factor.diagonal()
    errors = torch.zeros_like(block)
    if pattern == "unstructured":
        left_out = lowest_of_matrix((block / pivots).square(), sparsity)
    else:
        left_out = torch.zeros_like(block, dtype=torch.bool)
    for j in range(block.shape[1]):
        if pattern == "2:4" and j % CELL == 0:
            cell = slice(j, j + CELL)
            left_out[:, cell] = lowest_of_cells((block[:, cell] / pivots[cell]).square())
        errors[:, j] = block[:, j].where(left_out[:, j], 0.0) / pivots[j]
        block[:, j:] -= errors[:, j, None] * factor[j, j:]
        # Exactly zero, which the update reaches up to rounding only.
        block[:, j].masked_fill_(left_out[:, j], 0.0)
    return errors
