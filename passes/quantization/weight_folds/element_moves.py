"""Ops that only move elements: which element of the operands each element of a result is.

They are evaluated on the elements' numbers, with every symbol bound to a number of its own, so that one rule covers all
spellings of heads, packing and folded batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from graphwright.ir import Op, Program
from graphwright.ir.attributes import evaluate
from graphwright.ir.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

PRIMES = (2, 3, 5, 7, 11, 13, 17, 19)


def symbol_sizes(program: Program) -> dict[str, int]:
    """A different small prime for each symbol, so that no two axes of unlike meaning are of one length by chance."""
    symbols = sorted({s for graph in program.graphs.values() for s in graph.symbols})
    return {symbol: PRIMES[i % len(PRIMES)] for i, symbol in enumerate(symbols)}


def moved_elements(op: Op, sizes: Mapping[str, int]) -> list[Tensor]:
    """Of each result of a moving op: for each element its number, counted over the elements of all operands."""
    numbered: list[Tensor] = []
    first = 0
    for value in op.inputs:
        shape = [d.evaluate(sizes) for d in value.type.shape]
        count = torch.Size(shape).numel()
        numbered.append(torch.arange(first, first + count).reshape(shape))
        first += count
    attributes = {name: evaluate(value, sizes) for name, value in op.attributes.items()}
    results: Tensor | tuple[Tensor, ...] = op.definition.evaluate(numbered, attributes)
    return list(results) if isinstance(results, tuple) else [results]
