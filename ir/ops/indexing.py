"""Primitives that pick elements by index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from graphwright.ir.cost import ZERO, Cost, default_cost
from graphwright.ir.declare import AxisFlow, op
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.rules import normal_axis, require_equal, require_indices, require_number, require_rank
from graphwright.ir.types import TensorType

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["embedding", "gather", "gather_elements", "scatter_elements", "take_tokens"]


def _picked(op: Op) -> Cost:
    """Of the first operand the picked elements are read, each as often as it is picked."""
    return default_cost(op, ZERO, reads={op.definition.operands[0].name: op.results[0].type.bits})


@op("embedding")
def embedding(weight: TensorType, indices: TensorType) -> TensorType:
    """Rows of weight [vocabulary, size] at the indices (i64): indices' shape and then size."""
    require_rank("weight", weight, 2)
    require_indices("indices", indices)
    return TensorType(weight.dtype, (*indices.shape, weight.shape[1]))


@embedding.reference
def embedding_reference(weight: Tensor, indices: Tensor) -> Tensor:
    return torch.nn.functional.embedding(indices, weight)


@embedding.axes
def embedding_axes(op: Op) -> AxisFlow:
    return ((None, op.results[0].type.rank - 1), tuple(range(op.inputs[1].type.rank)))


embedding.cost(_picked)


@op("gather")
def gather(x: TensorType, indices: TensorType, *, axis: int) -> TensorType:
    """Slices of x at the indices (i64) of one axis; the indices' axes stand where that axis stood."""
    axis = normal_axis(axis, x.rank)
    require_indices("indices", indices)
    return TensorType(x.dtype, (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


@gather.reference
def gather_reference(x: Tensor, indices: Tensor, *, axis: int) -> Tensor:
    axis %= x.dim()
    picked = x.index_select(axis, indices.flatten())
    return picked.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


@gather.axes
def gather_axes(op: Op) -> AxisFlow:
    axis = op.attribute("axis", int)
    x, indices = op.inputs[0].type, op.inputs[1].type
    axis %= x.rank
    moved = (i if i < axis else None if i == axis else i + indices.rank - 1 for i in range(x.rank))
    return (tuple(moved), tuple(axis + i for i in range(indices.rank)))


gather.cost(_picked)


@op("gather_elements")
def gather_elements(x: TensorType, indices: TensorType, *, axis: int) -> TensorType:
    """Of x the element at indices[i, j, …] (i64) of one axis, for each place i, j, … ; the result has indices' shape.

    On the other axes indices reaches at most as far as x.
    """
    axis = normal_axis(axis, x.rank)
    require_indices("indices", indices, x.rank)
    _require_reach(x, indices, axis)
    return TensorType(x.dtype, indices.shape)


def _require_reach(x: TensorType, indices: TensorType, axis: int) -> None:
    for i, (reach, length) in enumerate(zip(indices.shape, x.shape, strict=True)):
        spare = (length - reach).constant
        if i != axis and spare is not None and spare < 0:
            raise IRTypeError(f"indices reach {reach} on axis {i}, x ends at {length}")


@gather_elements.reference
def gather_elements_reference(x: Tensor, indices: Tensor, *, axis: int) -> Tensor:
    return x.gather(axis, indices)


@gather_elements.axes
def gather_elements_axes(op: Op) -> AxisFlow:
    axis = op.attribute("axis", int)
    x, indices = op.inputs[0].type, op.inputs[1].type
    axis %= x.rank
    kept = (i if i != axis and d is indices.shape[i] else None for i, d in enumerate(x.shape))
    return (tuple(kept), tuple(range(indices.rank)))


gather_elements.cost(_picked)


@op("take_tokens")
def take_tokens(x: TensorType, positions: TensorType) -> TensorType:
    """Of x [batch, sequence, size] the tokens at positions i64 [batch, n] of each row: [batch, n, size]."""
    require_rank("x", x, 3)
    require_indices("positions", positions, 2)
    require_equal("batch of x and positions", x.shape[0], positions.shape[0])
    return TensorType(x.dtype, (x.shape[0], positions.shape[1], x.shape[2]))


@take_tokens.reference
def take_tokens_reference(x: Tensor, positions: Tensor) -> Tensor:
    return torch.take_along_dim(x, positions[:, :, None], 1)


@take_tokens.axes
def take_tokens_axes(op: Op) -> AxisFlow:
    return ((0, None, 2), (0, 1))


take_tokens.cost(_picked)


@op("scatter_elements")
def scatter_elements(
    x: TensorType, indices: TensorType, updates: TensorType, *, axis: int, reduction: Literal["none", "add"] = "none"
) -> TensorType:
    """x with updates[i, j, …] written at (or added to) index indices[i, j, …] (i64) of one axis, for each i, j, …

    On the other axes indices reaches at most as far as x. Where an index comes twice, "none" keeps either update.
    """
    axis = normal_axis(axis, x.rank)
    require_indices("indices", indices, x.rank)
    _require_reach(x, indices, axis)
    if updates != TensorType(x.dtype, indices.shape):
        raise IRTypeError(f"updates {updates} are not one {x.dtype} for each of {indices}")
    if reduction == "add":
        require_number("x", x)
    return x


@scatter_elements.reference
def scatter_elements_reference(x: Tensor, indices: Tensor, updates: Tensor, *, axis: int, reduction: str) -> Tensor:
    return x.scatter_add(axis, indices, updates) if reduction == "add" else x.scatter(axis, indices, updates)


@scatter_elements.axes
def scatter_elements_axes(op: Op) -> AxisFlow:
    axis = op.attribute("axis", int)
    x, indices = op.inputs[0].type, op.inputs[1].type
    axis %= x.rank
    written = tuple(i if i != axis and d is x.shape[i] else None for i, d in enumerate(indices.shape))
    return (tuple(None if i == axis else i for i in range(x.rank)), written, written)
