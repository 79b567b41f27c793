# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Functions of tensor expressions are called by TVM, which has no types.
"""Emission of reductions and softmax."""

import math
from collections.abc import Callable
from typing import Any

from graphwright.backends.tvm.emit import numbers
from graphwright.backends.tvm.emit.emitter import Emitter, type_name
from graphwright.backends.tvm.tvm_library import te, tirx
from graphwright.ir.dims import product
from graphwright.ir.graph import Op
from graphwright.ir.ops.shape import as_ints
from graphwright.ir.types import DType

SUMMED = "float64"
"""What floats are added up in: sums in TVM's order lose more than the reference's, which go by halves."""


class _Reduced:
    """A reduction of x over axes: its index, and what it sums over."""

    def __init__(self, x: Any, rank: int, axes: set[int], keepdims: bool) -> None:
        self.rank, self.axes, self.keepdims = rank, axes, keepdims
        self.variables = {axis: te.reduce_axis((0, x.shape[axis]), f"r{axis}") for axis in sorted(axes)}

    def place(self, index: tuple[Any, ...]) -> list[Any]:
        """The index of x at an index of the result."""
        kept = iter(index)
        found: list[Any] = []
        for axis in range(self.rank):
            outer = next(kept) if axis not in self.axes or self.keepdims else None
            found.append(self.variables[axis].var if axis in self.axes else outer)
        return found

    @property
    def over(self) -> list[Any]:
        return list(self.variables.values())


def _axes(op: Op) -> set[int]:
    return {axis % op.inputs[0].type.rank for axis in as_ints(op.attributes["axes"])}


def _number(e: Emitter, op: Op) -> Any:
    """How many elements each result is made of."""
    return e.dim(product(op.inputs[0].type.shape[axis] for axis in _axes(op)))


def summed(x: Any) -> Any:
    """A number as what is added up."""
    return x.astype(SUMMED) if numbers.is_float(x) else x


def reduced(
    e: Emitter, op: Op, reducer: Callable[..., Any], prepare: Callable[[Any], Any], finish: Callable[[Any], Any]
) -> None:
    """The op's result: of each element a number is prepared, those over the axes are reduced, the outcome finished."""
    axes, keep, result = _axes(op), bool(op.attributes["keepdims"]), op.result.tensor
    shape, dtype, rank = e.shape(result.shape), type_name(result.dtype), op.inputs[0].type.rank

    def compute(x: Any) -> Any:
        form = _Reduced(x, rank, axes, keep)
        whole = te.compute(shape, lambda *i: reducer(prepare(x(*form.place(i))), axis=form.over), name=op.name)
        return te.compute(shape, lambda *i: finish(whole(*i)).astype(dtype), name=f"{op.name}_result")

    e.bind(op.result, e.te(compute, e.wide(op.inputs[0])))


def _extreme(function: Callable[[Any, Any], Any], low: bool) -> Callable[..., Any]:
    """The reducer of maxima or minima, NaN where one is."""

    def identity(dtype: str) -> Any:
        if dtype == "bool":
            return tirx.const(not low, "bool")
        if dtype.startswith("float"):
            return tirx.const(-math.inf if low else math.inf, dtype)
        return tirx.min_value(dtype) if low else tirx.max_value(dtype)

    return te.comm_reducer(function, lambda dtype: identity(str(dtype)), name="extreme")


greatest = _extreme(numbers.maximum, True)
least = _extreme(numbers.minimum, False)


def _same(x: Any) -> Any:
    return x


def emit_sum(e: Emitter, op: Op) -> None:
    counts = op.inputs[0].tensor.dtype is DType.BOOL
    reduced(e, op, te.sum, lambda x: x.astype("int64") if counts else summed(x), _same)


def emit_mean(e: Emitter, op: Op) -> None:
    number = _number(e, op).astype(SUMMED)
    reduced(e, op, te.sum, summed, lambda total: total / number)


def emit_greatest(e: Emitter, op: Op) -> None:
    reduced(e, op, greatest, _same, _same)


def emit_least(e: Emitter, op: Op) -> None:
    reduced(e, op, least, _same, _same)


def emit_var(e: Emitter, op: Op) -> None:
    axes, keep, result = _axes(op), bool(op.attributes["keepdims"]), op.result.tensor
    shape, dtype, rank = e.shape(result.shape), type_name(result.dtype), op.inputs[0].type.rank
    number = _number(e, op).astype(SUMMED)

    def compute(x: Any) -> Any:
        first, second = (_Reduced(x, rank, axes, keep) for _ in range(2))
        total = te.compute(shape, lambda *i: te.sum(summed(x(*first.place(i))), axis=first.over), name="total")

        def square(*i: Any) -> Any:
            difference = summed(x(*second.place(i))) - total(*i) / number
            return te.sum(difference * difference, axis=second.over)

        squares = te.compute(shape, square, name="squares")
        return te.compute(shape, lambda *i: (squares(*i) / number).astype(dtype), name="var")

    e.bind(op.result, e.te(compute, e.wide(op.inputs[0])))


def emit_softmax(e: Emitter, op: Op) -> None:
    axis, type = op.attributes["axis"], op.result.tensor
    assert isinstance(axis, int)
    axis %= type.rank
    shape, dtype = e.shape(type.shape), type_name(type.dtype)
    outer = e.shape(size for i, size in enumerate(type.shape) if i != axis)

    def compute(x: Any) -> Any:
        first, second = (_Reduced(x, type.rank, {axis}, False) for _ in range(2))

        def outside(index: Any) -> Any:
            return (*index[:axis], *index[axis + 1 :])

        largest = te.compute(outer, lambda *i: greatest(x(*first.place(i)), axis=first.over), name="largest")
        power = te.compute(shape, lambda *i: numbers.exp(x(*i) - largest(*outside(i))), name="power")
        total = te.compute(outer, lambda *i: te.sum(summed(power(*second.place(i))), axis=second.over), name="total")
        return te.compute(
            shape, lambda *i: (power(*i) / total(*outside(i)).astype(power.dtype)).astype(dtype), name="softmax"
        )

    e.bind(op.result, e.te(compute, e.wide(op.inputs[0])))
