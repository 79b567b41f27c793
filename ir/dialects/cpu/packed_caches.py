"""Codes of four bits as caches of the CPU's kernels hold them: two in a byte, from both halves of a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.declare import AxisFlow, op
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.codes import dequantize_tensor, quantize_tensor
from graphwright.ir.ops.rules import keep_but, last
from graphwright.ir.types import DType, StateType, TensorType

if TYPE_CHECKING:
    from torch import Tensor

OFFSET = 8
"""What is added to a code, so that it is a number from 0 to 15."""


def unpacked(held: TensorType) -> TensorType:
    """The type of the codes that bytes hold, i4 with a last axis twice as long; what is not u8 as it is."""
    return TensorType(DType.I4, (*held.shape[:-1], held.shape[-1] * 2)) if held.dtype is DType.U8 else held


def unpacked_state(cache: StateType) -> StateType:
    """The same of a cache."""
    return StateType(cache.layout, unpacked(cache.tensor))


@op("cpu.quantize_packed")
def quantize_packed(x: TensorType, scale: TensorType) -> TensorType:
    """`quantize_tensor` to i4, two codes in a byte, so that the last axis becomes half as long.

    Code + 8 of an element of the first half is in the lower four bits, that of the same one of the second half above.
    """
    quantize_tensor.rule(x, scale, to=DType.I4)
    half = last("x", x).exact_div(2)
    if half is None:
        raise IRTypeError(f"{x} has an odd number of elements to pack in pairs")
    return TensorType(DType.U8, (*x.shape[:-1], half))


@quantize_packed.reference
def quantize_packed_reference(x: Tensor, scale: Tensor) -> Tensor:
    codes = quantize_tensor.evaluate([x, scale], {"to": DType.I4}).to(torch.uint8) + OFFSET
    low, high = codes.chunk(2, -1)
    return low | high << 4


@quantize_packed.axes
def quantize_packed_axes(op: Op) -> AxisFlow:
    return keep_but(op, -1)


@quantize_packed.cost
def quantize_packed_cost(op: Op) -> Cost:
    return default_cost(op, op.inputs[0].type.elements * 6)


@op("cpu.dequantize_packed")
def dequantize_packed(codes: TensorType, scale: TensorType, *, dtype: DType = DType.F32) -> TensorType:
    """`dequantize_tensor` of what `quantize_packed` gives: the last axis becomes twice as long."""
    if codes.dtype is not DType.U8:
        raise IRTypeError(f"codes are {codes}, expected u8")
    pairs = unpacked(codes)
    dequantize_tensor.rule(pairs, scale, dtype=dtype)
    return pairs.with_dtype(dtype)


@dequantize_packed.reference
def dequantize_packed_reference(codes: Tensor, scale: Tensor, *, dtype: DType) -> Tensor:
    pairs = torch.cat([codes & 15, codes >> 4], -1)
    return dequantize_tensor.evaluate([pairs.to(torch.int8) - OFFSET, scale], {"dtype": dtype})


@dequantize_packed.axes
def dequantize_packed_axes(op: Op) -> AxisFlow:
    return keep_but(op, -1)


@dequantize_packed.cost
def dequantize_packed_cost(op: Op) -> Cost:
    return default_cost(op, op.result.type.elements * 3)
