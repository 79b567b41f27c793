"""Codes that were computed once and stay as they are: a quantized weight of stored arrays, their bits packed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from graphwright.ir import Dim, DType, TensorType, ops
from graphwright.ir.interpreter import apply_reference
from graphwright.ir.quantized import QuantizedTensor
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.types import QuantizedType
from graphwright.ir.weights import Applied, StoredArray, StoredFile

if TYPE_CHECKING:
    from torch import Tensor


def part_types(type: QuantizedType) -> dict[str, TensorType]:
    """The arrays that a quantized weight, grouped along its last axis, is stored as: codes of few bits are packed."""
    return {name: _packed(part) for name, part in type.parts.items()}


def parts_of(weight: QuantizedTensor) -> dict[str, Tensor]:
    """The arrays of a quantized weight, of the types that `part_types` says."""
    return {name: _pack(getattr(weight, name), part) for name, part in weight.type.parts.items()}


def stored_weight(type: QuantizedType, parts: Mapping[str, StoredArray | StoredFile]) -> Applied:
    """The quantized weight that such arrays make."""
    operands = tuple(
        _unpacked(parts[operand.name], type.parts[operand.name]) if operand.name in type.parts else None
        for operand in ops.quantized.operands
    )
    made = Applied.of(ops.quantized, operands, {"group": type.group or 0})
    assert made.type == type, f"{made.type} was put together, expected {type}"
    return made


def _packed(codes: TensorType) -> TensorType:
    if codes.dtype.bits >= 8:
        return codes
    size = -(-codes.shape[-1].evaluate({}) * codes.dtype.bits // 8)
    return TensorType(DType.U8, (*codes.shape[:-1], Dim.of(size)))


def _pack(part: Tensor, type: TensorType) -> Tensor:
    if type.dtype.bits >= 8:
        return part.to(torch_dtype(type.dtype))
    return apply_reference(ops.pack_bits, [part], {"bits": type.dtype.bits}, (_packed(type),), {})[0]


def _unpacked(stored: StoredArray | StoredFile, codes: TensorType) -> StoredArray | StoredFile | Applied:
    if codes.dtype.bits >= 8:
        return stored
    return Applied.of(ops.unpack_bits, (stored,), {"to": codes.dtype, "length": codes.shape[-1].evaluate({})})
