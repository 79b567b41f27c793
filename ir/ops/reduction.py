"""Reductions, softmax and running sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.declare import AxisFlow, OpDef, op
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.ops.rules import ONE, keep_but, normal_axis, require_bool, require_float, require_nothing
from graphwright.ir.traits import Trait
from graphwright.ir.types import DType, TensorType

if TYPE_CHECKING:
    from torch import Tensor

    Reduce = Callable[[Tensor, tuple[int, ...], bool], Tensor]

__all__ = ["all", "amax", "amin", "any", "cumsum", "mean", "softmax", "sum", "var"]


def _reduction(
    name: str,
    doc: str,
    function: Reduce,
    require: Callable[[str, TensorType], None],
    *traits: Trait,
    counts: bool = False,
) -> OpDef:
    def rule(x: TensorType, *, axes: tuple[int, ...], keepdims: bool = False) -> TensorType:
        require("x", x)
        gone = {normal_axis(a, x.rank) for a in axes}
        if not gone or len(gone) != len(axes):
            raise IRTypeError(f"axes {list(axes)} to reduce" + (" name an axis twice" if gone else ""))
        kept = (ONE if i in gone else d for i, d in enumerate(x.shape) if keepdims or i not in gone)
        return TensorType(DType.I64 if counts and x.dtype is DType.BOOL else x.dtype, tuple(kept))

    rule.__doc__ = doc
    definition = op(name, *traits)(rule)

    @definition.reference
    def reference(x: Tensor, *, axes: tuple[int, ...], keepdims: bool) -> Tensor:
        return function(x, axes, keepdims)

    @definition.axes
    def axes(op: Op) -> AxisFlow:
        rank = op.inputs[0].type.rank
        gone = {a % rank for a in op.attribute("axes", tuple[int, ...])}
        kept = iter(range(rank))
        flow = [None if i in gone else (i if op.attributes["keepdims"] else next(kept)) for i in range(rank)]
        return (tuple(flow),)

    @definition.cost
    def cost(op: Op) -> Cost:
        return default_cost(op, op.inputs[0].type.elements)

    return definition


sum = _reduction(
    "sum",
    "The sum over the axes; a bool counts as 0 or 1 and gives i64.",
    lambda x, axes, keep: x.sum(axes, keep),
    require_nothing,
    Trait.LINEAR,
    counts=True,
)
mean = _reduction(
    "mean", "The mean over the axes.", lambda x, axes, keep: x.mean(axes, keep), require_float, Trait.LINEAR
)
amax = _reduction("amax", "The maximum over the axes.", lambda x, axes, keep: x.amax(axes, keep), require_nothing)
amin = _reduction("amin", "The minimum over the axes.", lambda x, axes, keep: x.amin(axes, keep), require_nothing)
any = _reduction("any", "Whether any is true.", lambda x, axes, keep: x.amax(axes, keep), require_bool)
all = _reduction("all", "Whether all are true.", lambda x, axes, keep: x.amin(axes, keep), require_bool)
var = _reduction(
    "var",
    "The variance over the axes, divided by n.",
    lambda x, axes, keep: x.var(axes, correction=0, keepdim=keep),
    require_float,
)


@op("softmax")
def softmax(x: TensorType, *, axis: int) -> TensorType:
    """exp(x) over its sum along the axis."""
    require_float("x", x)
    normal_axis(axis, x.rank)
    return x


@softmax.reference
def softmax_reference(x: Tensor, *, axis: int) -> Tensor:
    return x.softmax(axis)


@softmax.axes
def softmax_axes(op: Op) -> AxisFlow:
    axis = op.attribute("axis", int)
    return keep_but(op, axis)


@softmax.cost
def softmax_cost(op: Op) -> Cost:
    return default_cost(op, op.inputs[0].type.elements * 5)


@op("cumsum", Trait.LINEAR)
def cumsum(x: TensorType, *, axis: int) -> TensorType:
    """Running sums along the axis; a bool counts as 0 or 1 and gives i64."""
    normal_axis(axis, x.rank)
    return x.with_dtype(DType.I64) if x.dtype is DType.BOOL else x


@cumsum.reference
def cumsum_reference(x: Tensor, *, axis: int) -> Tensor:
    return x.cumsum(axis)


@cumsum.axes
def cumsum_axes(op: Op) -> AxisFlow:
    axis = op.attribute("axis", int)
    return keep_but(op, axis)
