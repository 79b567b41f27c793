# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Functions of tensor expressions are called by TVM, which has no types.
"""Emission of rounding to codes, and of reading them."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.emit import numbers
from graphwright.backends.tvm.emit.emitter import Emitter, type_name
from graphwright.backends.tvm.emit.pointwise import aligned, pointwise
from graphwright.backends.tvm.emit.reduction import greatest
from graphwright.backends.tvm.kernels.fast_math import let
from graphwright.backends.tvm.tvm_library import te, tirx
from graphwright.ir.dialects.packed_codes import OFFSET
from graphwright.ir.graph import Op
from graphwright.ir.rounding import Grid
from graphwright.ir.types import DType

FLOATS = {DType.F8E4M3: (3, -6), DType.F8E5M2: (2, -14)}
"""Bits of the significand behind the point, and the least exponent that numbers of full precision have."""
LARGEST = 3.4028234663852886e38
"""The largest float32."""


def nearest(x: Any, element: DType) -> Any:
    """What the nearest codes stand for, ties to even; what is out of range is cut off, and NaN stays."""
    grid = Grid(element)
    low, high = numbers.constant(grid.least, x), numbers.constant(grid.most, x)
    cut = tirx.Select(x < low, low, tirx.Select(x > high, high, x))
    if element.is_integer:
        return tirx.nearbyint(cut)
    return let(cut, lambda x: let(_step(x, element), lambda step: tirx.nearbyint(x / step) * step))


def _step(x: Any, element: DType) -> Any:
    """How far the numbers of a small float type lie apart near x."""
    if element is DType.F4E2M1:
        size = tirx.abs(x)
        half, one, two = (numbers.constant(value, x) for value in (0.5, 1, 2))
        return tirx.Select(size >= numbers.constant(4, x), two, tirx.Select(size >= two, one, half))
    digits, least = FLOATS[element]
    bits = tirx.reinterpret("int32", x.astype("float32"))
    exponent = ((bits >> tirx.const(23, "int32")) & tirx.const(255, "int32")) - tirx.const(127, "int32")
    power = tirx.max(exponent, tirx.const(least, "int32")) - tirx.const(digits, "int32")
    step = tirx.reinterpret("float32", (power + tirx.const(127, "int32")) << tirx.const(23, "int32"))
    return step.astype(x.ty.dtype)


def _element(op: Op) -> DType:
    to = op.attributes["to"]
    assert isinstance(to, DType)
    return to


def emit_quantize_tensor(e: Emitter, op: Op) -> None:
    to = _element(op)
    name = type_name(to)
    pointwise(e, op, lambda x, scale: nearest(x * (numbers.constant(1, scale) / scale), to).astype(name))


def emit_dequantize_tensor(e: Emitter, op: Op) -> None:
    pointwise(e, op, lambda codes, scale: codes.astype(scale.ty.dtype) * scale)


def emit_quantize_packed(e: Emitter, op: Op) -> None:
    x, scale = op.inputs
    shape, sizes = e.shape(op.result.tensor.shape), [v.type.shape for v in (x, scale)]

    def compute(numbers_: Any, scales: Any) -> Any:
        def code(*index: Any) -> Any:
            number = numbers_(*aligned(index, sizes[0]))
            of = scales(*aligned(index, sizes[1]))
            code = nearest(number * (numbers.constant(1, of) / of), DType.I4)
            return code.astype("int32") + tirx.const(OFFSET, "int32")

        def byte(*index: Any) -> Any:
            low, high = code(*index), code(*index[:-1], index[-1] + shape[-1])
            return (low | (high << tirx.const(4, "int32"))).astype("uint8")

        return te.compute(shape, byte, name="quantize_packed")

    e.bind(op.result, e.te(compute, e.wide(x), e.value(scale)))


def emit_dequantize_packed(e: Emitter, op: Op) -> None:
    codes, scale = op.inputs
    shape, half = e.shape(op.result.tensor.shape), e.shape(codes.type.shape)[-1]
    dtype = type_name(op.result.tensor.dtype)

    def compute(bytes: Any, scales: Any) -> Any:
        def element(*index: Any) -> Any:
            byte = bytes(*index[:-1], index[-1] % half).astype("int32")
            shift = (index[-1] // half).astype("int32") * tirx.const(4, "int32")
            code = ((byte >> shift) & tirx.const(15, "int32")) - tirx.const(OFFSET, "int32")
            of = scales(*aligned(index, scale.type.shape))
            return (code.astype(of.ty.dtype) * of).astype(dtype)

        return te.compute(shape, element, name="dequantize_packed")

    e.bind(op.result, e.te(compute, e.value(codes), e.value(scale)))


def emit_fake_quantize_by_scale(e: Emitter, op: Op) -> None:
    to = _element(op)
    pointwise(e, op, lambda x, scale: nearest(x / scale.astype(x.ty.dtype), to) * scale.astype(x.ty.dtype))


def emit_fake_quantize(e: Emitter, op: Op) -> None:
    to, group, type = _element(op), op.attributes["group"], op.result.tensor
    assert isinstance(group, int)
    shape, dtype, most = e.shape(type.shape), type_name(type.dtype), Grid(to).most
    length = shape[-1]
    size = length if group == 0 else tirx.const(group, "int64")
    groups = [*shape[:-1], tirx.const(1, "int64") if group == 0 else -(-type.shape[-1].evaluate({}) // group)]

    def compute(x: Any) -> Any:
        place = te.reduce_axis((0, size), "place")

        def magnitude(*index: Any) -> Any:
            at = index[-1] * size + place.var
            value = x(*index[:-1], at)
            return tirx.abs(tirx.if_then_else(at < length, value, tirx.const(0, value.ty.dtype)))

        largest = te.compute(groups, lambda *i: greatest(magnitude(*i), axis=place), name="largest")

        def scale(value: Any) -> Any:
            stored = (value / numbers.constant(most, value)).astype("float32")
            finite = tirx.Select(stored > numbers.constant(LARGEST, stored), numbers.constant(LARGEST, stored), stored)
            zero = tirx.EQ(finite, numbers.constant(0, finite))
            return tirx.Select(zero, numbers.constant(1, finite), finite).astype(value.ty.dtype)

        scales = te.compute(groups, lambda *i: scale(largest(*i)), name="scales")

        def rounded(*index: Any) -> Any:
            each = scales(*index[:-1], 0 if group == 0 else tirx.floordiv(index[-1], size))
            return (nearest(x(*index) / each, to) * each).astype(dtype)

        return te.compute(shape, rounded, name="fake_quantize")

    e.bind(op.result, e.te(compute, e.wide(op.inputs[0])))
