"""Codes that were computed once and stay as they are: a quantized weight of stored arrays, their bits packed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from graphwright.ir import Dim, DType, TensorType, ops
from graphwright.ir.interpreter import apply_reference
from graphwright.ir.quantized import QuantizedTensor
from graphwright.ir.types import QuantizedType
from graphwright.ir.weights import Applied, StoredArray, StoredFile

if TYPE_CHECKING:
    from torch import Tensor

CODES, SCALES, ZERO_POINTS, TENSOR_SCALE = "codes", "scales", "zero_points", "tensor_scale"


def part_types(type: QuantizedType) -> dict[str, TensorType]:
    """The arrays that a quantized weight, grouped along its last axis, is stored as: codes of few bits are packed."""
    parts = {
        CODES: _packed(TensorType(type.element, type.shape)),
        SCALES: TensorType(type.scale_dtype, type.scale_shape),
    }
    if not type.symmetric:
        parts[ZERO_POINTS] = _packed(TensorType(type.element, type.scale_shape))
    if type.tensor_scale:
        parts[TENSOR_SCALE] = TensorType(DType.F32, ())
    return parts


def parts_of(weight: QuantizedTensor) -> dict[str, Tensor]:
    """The arrays of a quantized weight, of the types that `part_types` says."""
    element = weight.type.element
    parts = {CODES: _pack(weight.codes, element), SCALES: weight.scales}
    if weight.zero_points is not None:
        parts[ZERO_POINTS] = _pack(weight.zero_points, element)
    if weight.tensor_scale is not None:
        parts[TENSOR_SCALE] = weight.tensor_scale.float()
    return parts


def stored_weight(type: QuantizedType, parts: Mapping[str, StoredArray | StoredFile]) -> Applied:
    """The quantized weight that such arrays make."""
    operands = (
        _unpacked(parts[CODES], TensorType(type.element, type.shape)),
        parts[SCALES],
        None if type.symmetric else _unpacked(parts[ZERO_POINTS], TensorType(type.element, type.scale_shape)),
        parts[TENSOR_SCALE] if type.tensor_scale else None,
    )
    made = Applied.of(ops.quantized, operands, {"group": type.group or 0})
    assert made.type == type, f"{made.type} was put together, expected {type}"
    return made


def _packed(codes: TensorType) -> TensorType:
    if codes.dtype.bits == 8:
        return codes
    size = -(-codes.shape[-1].evaluate({}) * codes.dtype.bits // 8)
    return TensorType(DType.U8, (*codes.shape[:-1], Dim.of(size)))


def _pack(codes: Tensor, element: DType) -> Tensor:
    if element.bits == 8:
        return codes
    shape = tuple(map(Dim.of, codes.shape))
    packed = _packed(TensorType(element, shape))
    return apply_reference(ops.pack_bits, [codes], {"bits": element.bits}, (packed,), {})[0]


def _unpacked(stored: StoredArray | StoredFile, codes: TensorType) -> StoredArray | StoredFile | Applied:
    if codes.dtype.bits == 8:
        return stored
    return Applied.of(ops.unpack_bits, (stored,), {"to": codes.dtype, "length": codes.shape[-1].evaluate({})})
