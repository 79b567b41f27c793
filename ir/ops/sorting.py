"""The largest elements and where they stand, and the order of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.declare import AxisFlow, op
from graphwright.ir.dims import Dim
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.ops.rules import keep_but, last, normal_axis, require_number
from graphwright.ir.types import DType, TensorType

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["sort_order", "topk"]


@op("topk")
def topk(x: TensorType, *, k: int, axis: int, largest: bool = True) -> tuple[TensorType, TensorType]:
    """The k largest (or smallest) elements along an axis, in order, and their indices (i64).

    Of equal elements the one with the lower index comes first.
    """
    require_number("x", x)
    axis = normal_axis(axis, x.rank)
    spare = (x.shape[axis] - k).constant
    if k < 0 or (spare is not None and spare < 0):
        raise IRTypeError(f"the first {k} of {x.shape[axis]}")
    shape = (*x.shape[:axis], Dim.of(k), *x.shape[axis + 1 :])
    return TensorType(x.dtype, shape), TensorType(DType.I64, shape)


@topk.reference
def topk_reference(x: Tensor, *, k: int, axis: int, largest: bool) -> tuple[Tensor, Tensor]:
    values, indices = x.sort(dim=axis, descending=largest, stable=True)
    return values.narrow(axis, 0, k), indices.narrow(axis, 0, k)


@topk.axes
def topk_axes(op: Op) -> AxisFlow:
    axis = op.attribute("axis", int)
    return keep_but(op, axis)


@topk.cost
def topk_cost(op: Op) -> Cost:
    return default_cost(op, op.inputs[0].type.elements)


@op("sort_order")
def sort_order(x: TensorType) -> TensorType:
    """Indices (i64) that put the last axis in ascending order; equal elements stay in theirs."""
    require_number("x", x)
    last("x", x)
    return TensorType(DType.I64, x.shape)


@sort_order.reference
def sort_order_reference(x: Tensor) -> Tensor:
    return x.argsort(dim=-1, stable=True)


@sort_order.axes
def sort_order_axes(op: Op) -> AxisFlow:
    return keep_but(op, -1)
