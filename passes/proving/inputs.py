"""Inputs for a graph that knows only their types: seeded, with the cases in which mistakes show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from graphwright.ir import DType, Graph, UserError, Value, ops
from graphwright.ir.dialects.ort.quantized import gather_block_quantized, gather_blocks
from graphwright.ir.lazy import torch
from graphwright.ir.quantized import QuantizedTensor
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.traits import Trait

if TYPE_CHECKING:
    from torch import Tensor

NEAR_ZERO = 1e-3
"""What the last numbers of an input are multiplied by: where vectors are small, epsilons matter."""
INDEXED = {
    ops.embedding: 0,
    ops.quantized_embedding: 0,
    gather_block_quantized: 0,
    gather_blocks: 0,
    ops.gather: None,
    ops.gather_elements: None,
}
"""Ops whose second operand picks from the first along an axis: this one, or that of the attribute."""

CHOOSING = frozenset({ops.cast, ops.where, ops.maximum, ops.minimum})
"""Ops, beside those that move elements, whose results are elements of the operands, in whatever type."""


def index_bound(graph: Graph, value: Value) -> int | None:
    """How many entries the smallest table has that the elements of an integer input pick from; None if they pick none.

    Followed through the ops that only move elements, choose among them or change their type.
    """
    bounds: list[int] = []
    seen: set[Value] = set()
    pending = [value]
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        for op in current.users:
            if op.definition in INDEXED and len(op.inputs) > 1 and op.inputs[1] is current:
                axis = INDEXED[op.definition]
                table = op.inputs[0].type.shape[axis if axis is not None else op.attribute("axis", int)]
                if table.constant is not None:
                    bounds.append(table.constant)
            elif op.definition.has(Trait.MOVES) or op.definition in CHOOSING:
                pending.extend(op.results)
    return min(bounds, default=None)


EMBEDDINGS = (ops.embedding, ops.quantized_embedding)


def smallest_rows(graph: Graph, value: Value, count: int) -> list[int]:
    """Of the table that token ids pick from first, the rows of least length: there norms divide by their epsilon."""
    for op in value.users:
        table = op.inputs[0]
        if op.definition in EMBEDDINGS and op.inputs[1] is value and table.weight is not None:
            stored: Any = table.weight.evaluate()
            if isinstance(stored, QuantizedTensor):
                stored = stored.dequantize(torch.float32)
            lengths = stored.float().square().sum(1)
            return [int(i) for i in lengths.argsort()[:count]]
    return []


def random_input(
    graph: Graph, value: Value, sizes: Mapping[str, int], generator: torch.Generator, counts: bool = False
) -> Tensor:
    """A tensor of the input's type: floats of size one with near-zero vectors among them, indices inside their table.

    Integers and booleans that pick nothing are a mask: ones, and from the second row on zeros at the end. If `counts`,
    such integers are 0, 1, 2 and so on instead.
    """
    shape = [d.evaluate(sizes) for d in value.type.shape]
    dtype = value.tensor.dtype
    if dtype.is_float:
        made = torch.randn(shape, generator=generator)
        if made.dim() > 1 and made.shape[1] > 1:
            made[:, -1] *= NEAR_ZERO
        return made.to(torch_dtype(dtype))
    bound = index_bound(graph, value) if dtype is not DType.BOOL else None
    if bound is not None:
        return torch.randint(bound, shape, generator=generator).to(torch_dtype(dtype))
    if counts and dtype is not DType.BOOL:
        return torch.arange(math.prod(shape)).reshape(shape).to(torch_dtype(dtype))
    mask = torch.ones(shape)
    if mask.dim() > 1:
        for row in range(1, shape[0]):
            mask[row, ..., max(1, shape[-1] - 2 * row) :] = 0
    return mask.to(torch_dtype(dtype))


def chosen(graph: Graph, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The graph's inputs among what is given. Raises `UserError` for one that is not."""
    for value in graph.inputs:
        if value.name not in given:
            raise UserError(f"graph '{graph.name}' has an input '{value.name}', which nothing provides")
    return {str(v.name): given[str(v.name)] for v in graph.inputs}


def result(graph: Graph, outputs: Mapping[str, Tensor], name: str) -> Tensor:
    """The output of that name. Raises `UserError` where there is none."""
    if name not in outputs:
        raise UserError(f"graph '{graph.name}' has no output '{name}'")
    return outputs[name]


def as_declared(graph: Graph, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Inputs of the graph, floats in the types that it declares: a pass may have widened them."""
    wanted = {str(v.name): torch_dtype(v.tensor.dtype) for v in graph.inputs}
    return {name: x.to(wanted[name]) if x.is_floating_point() else x for name, x in given.items()}
