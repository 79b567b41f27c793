# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Functions of tensor expressions are called by TVM, which has no types.
"""Emission of the largest elements, and of the order of all."""

from typing import Any

from graphwright.backends.tvm.emit import numbers
from graphwright.backends.tvm.emit.emitter import Emitter, Tensor, flat_type
from graphwright.backends.tvm.kernels.fast_math import let
from graphwright.backends.tvm.kernels.order import largest, order
from graphwright.backends.tvm.tvm_library import te, tirx
from graphwright.ir.dims import Dim, product
from graphwright.ir.graph import Op
from graphwright.ir.types import DType, tensor


def key(x: Any, descending: bool) -> Any:
    """An integer that is the larger the earlier a number comes: both zeros are one, and NaN is beyond infinity."""
    ordered = let(x, _rising) if numbers.is_float(x) else x.astype("int64")
    return ordered if descending else ~ordered


def _rising(x: Any) -> Any:
    """The bits of a float as an integer that rises with it."""
    double = str(x.ty.dtype) == "float64"
    whole = "int64" if double else "int32"
    bits = tirx.reinterpret(whole, tirx.Select(tirx.EQ(x, numbers.constant(0, x)), numbers.constant(0, x), x))
    mask = tirx.const((1 << (63 if double else 31)) - 1, whole)
    risen = tirx.Select(bits < tirx.const(0, whole), bits ^ mask, bits).astype("int64")
    return tirx.Select(numbers.is_nan(x), tirx.const((1 << 63) - 1, "int64"), risen)


def _keys(e: Emitter, op: Op, axis: int, descending: bool) -> tuple[Tensor, list[int]]:
    """The keys as rows [M, N] with the axis last, and the permutation that brings it back."""
    type = op.inputs[0].tensor
    others = [i for i in range(type.rank) if i != axis]
    forward = [*others, axis]
    back = [forward.index(i) for i in range(type.rank)]
    shape = [type.shape[i] for i in forward]

    def compute(x: Any) -> Any:
        def element(*index: Any) -> Any:
            return key(x(*(index[back[i]] for i in range(type.rank))), descending)

        return te.compute(e.shape(shape), element, name="keys")

    keys = e.te(compute, e.wide(op.inputs[0]))
    return e.reshape(keys, (product(shape[:-1]), shape[-1])), back


def emit_topk(e: Emitter, op: Op) -> None:
    axis, count = op.attributes["axis"], op.attributes["k"]
    assert isinstance(axis, int)
    assert isinstance(count, int)
    type = op.results[1].tensor
    axis %= type.rank
    keys, back = _keys(e, op, axis, bool(op.attributes["largest"]))
    others = [size for i, size in enumerate(type.shape) if i != axis]
    rows = tensor(DType.I64, product(others), Dim.of(count))
    (places,) = e.kernel(largest, [keys], [rows], count=count)
    places = e.reshape(places, (*others, Dim.of(count)))
    if axis != type.rank - 1:
        places = e.permuted(places, back)

    def picked(x: Any, at: Any) -> Any:
        shape = e.shape(type.shape)
        return te.compute(shape, lambda *i: x(*i[:axis], at(*i), *i[axis + 1 :]), name="topk")

    e.bind(op.results[0], e.te(picked, e.value(op.inputs[0]), places))
    e.bind(op.results[1], places)


def emit_sort_order(e: Emitter, op: Op) -> None:
    type = op.result.tensor
    keys, _ = _keys(e, op, type.rank - 1, False)
    (places,) = e.kernel(order, [keys], [flat_type(type)])
    e.bind(op.result, e.reshape(places, type.shape))
