"""How weights of codes lie that the kernels of a GPU read, as expressions that are evaluated when they are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from graphwright.backends.kernel_library import OperandLayout
from graphwright.ir import ops
from graphwright.ir.types import DType, QuantizedType, Type
from graphwright.ir.weights import Applied, WeightExpression

PARTS = {
    "codes": ops.quantized_codes,
    "scales": ops.quantized_scales,
    "zero_points": ops.quantized_zero_points,
    "minimums": ops.quantized_minimums,
}
READ_SCALES = (DType.F16, DType.BF16, DType.F32)


def stored_type(type: QuantizedType) -> QuantizedType:
    """The type of what is stored: scales of 8 bits, and those that a scale of all of it multiplies, are float32."""
    plain = type.scale_dtype in READ_SCALES and not type.tensor_scale
    return replace(type, scale_dtype=type.scale_dtype if plain else DType.F32, tensor_scale=False)


def codes_in_a_byte(type: QuantizedType) -> int:
    """Two of at most 4 bits, or one."""
    return 2 if type.element.bits <= 4 else 1


def _pack(weight: WeightExpression) -> dict[str, WeightExpression]:
    type = weight.type
    assert isinstance(type, QuantizedType)
    arrays: dict[str, WeightExpression] = {}
    for name, part in PARTS.items():
        if name not in type.parts:
            continue
        array = Applied.of(part, (weight,), {})
        if name in ("codes", "zero_points"):
            arrays[name] = _halves(array, type) if codes_in_a_byte(type) == 2 else array
            continue
        if type.parts[name].dtype is not stored_type(type).scale_dtype:
            array = Applied.of(ops.cast, (array,), {"dtype": DType.F32})
        if type.tensor_scale:
            array = Applied.of(ops.mul, (array, Applied.of(ops.quantized_tensor_scale, (weight,), {})), {})
        arrays[name] = array
    return arrays


def _halves(codes: WeightExpression, type: QuantizedType) -> WeightExpression:
    """Codes of at most 4 bits as bytes of two, the first in the lower half, each row by itself."""
    if type.element.bits < 4:
        codes = Applied.of(ops.cast, (codes,), {"dtype": _four_bits(type.element)})
    return Applied.of(ops.pack_bits, (codes,), {"bits": 4})


def read_element(type: QuantizedType) -> DType:
    """The type of codes as kernels read them."""
    return type.element if codes_in_a_byte(type) == 1 else _four_bits(type.element)


def _four_bits(element: DType) -> DType:
    if element.is_float:
        return element
    return DType.I4 if element.value[0] == "i" else DType.U4


def _unpack(type: Type, arrays: Mapping[str, WeightExpression]) -> WeightExpression:
    assert isinstance(type, QuantizedType)
    stored = stored_type(type)
    parts: list[WeightExpression | None] = []
    for operand in ops.quantized.operands:
        part = stored.parts.get(operand.name)
        array = None if part is None else arrays[operand.name]
        if array is not None and part is not None and array.type != part:
            length = part.shape[-1].evaluate({})
            array = Applied.of(ops.unpack_bits, (array,), {"to": _four_bits(part.dtype), "length": length})
            if array.type != part:
                array = Applied.of(ops.cast, (array,), {"dtype": part.dtype})
        parts.append(array)
    return Applied.of(ops.quantized, tuple(parts), {"group": type.group or 0})


CODES = OperandLayout("codes", tuple(PARTS), _pack, _unpack)
"""Codes, scales, zero points and minimums as the type has them, those of at most 4 bits as two a byte."""


def unreadable(type: Type) -> str | None:
    """Why no kernel reads a weight of that type in its codes, None where they do."""
    assert isinstance(type, QuantizedType)
    if type.rank != 2 or type.axis != -1 or any(length.constant is None for length in type.shape):
        return f"{type} is not a matrix grouped along its rows"
    group = type.group
    if group is not None and (group < 16 or group > 256 or group & (group - 1)):
        return f"groups of {group} codes: its kernels take powers of two from 16 to 256"
    return None
