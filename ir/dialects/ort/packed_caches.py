"""Codes of four bits as caches hold them on ONNX's side: two in a byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.cost import Cost
from graphwright.ir.declare import AxisFlow, op
from graphwright.ir.dialects import packed_codes
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.rules import keep_but
from graphwright.ir.types import DType, TensorType

if TYPE_CHECKING:
    from torch import Tensor


@op("onnx.quantize_packed")
def quantize_packed(x: TensorType, scale: TensorType) -> TensorType:
    """`quantize_tensor` to i4, two codes in a byte: code + 8 of an even element in the lower half, of the next one in
    the upper, as GroupQueryAttention has them. The last axis becomes half as long."""
    return packed_codes.packed(x, scale)


@quantize_packed.reference
def quantize_packed_reference(x: Tensor, scale: Tensor) -> Tensor:
    codes = packed_codes.codes_from_zero(x, scale)
    return codes[..., 0::2] | codes[..., 1::2] << 4


@quantize_packed.axes
def quantize_packed_axes(op: Op) -> AxisFlow:
    return keep_but(op, -1)


@quantize_packed.cost
def quantize_packed_cost(op: Op) -> Cost:
    return packed_codes.packing_cost(op)


@op("onnx.dequantize_packed")
def dequantize_packed(codes: TensorType, scale: TensorType, *, dtype: DType = DType.F32) -> TensorType:
    """`dequantize_tensor` of what `quantize_packed` gives: the last axis becomes twice as long."""
    return packed_codes.dequantized(codes, scale, dtype)


@dequantize_packed.reference
def dequantize_packed_reference(codes: Tensor, scale: Tensor, *, dtype: DType) -> Tensor:
    return packed_codes.numbers(torch.stack([codes & 15, codes >> 4], -1).flatten(-2), scale, dtype)


@dequantize_packed.axes
def dequantize_packed_axes(op: Op) -> AxisFlow:
    return keep_but(op, -1)


@dequantize_packed.cost
def dequantize_packed_cost(op: Op) -> Cost:
    return packed_codes.unpacking_cost(op)
