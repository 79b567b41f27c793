"""Codes of four bits as caches hold them, two in a byte: what is the same in whichever order a target packs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.codes import dequantize_tensor, quantize_tensor
from graphwright.ir.ops.rules import last
from graphwright.ir.types import DType, StateType, TensorType

if TYPE_CHECKING:
    from torch import Tensor

OFFSET = 8
"""What is added to a code, so that it is a number from 0 to 15."""


def packed(x: TensorType, scale: TensorType) -> TensorType:
    """The type of the bytes that hold the codes of x: u8, the last axis half as long. Raises IRTypeError."""
    quantize_tensor.rule(x, scale, to=DType.I4)
    half = last("x", x).exact_div(2)
    if half is None:
        raise IRTypeError(f"{x} has an odd number of elements to pack in pairs")
    return TensorType(DType.U8, (*x.shape[:-1], half))


def unpacked(held: TensorType) -> TensorType:
    """The type of the codes that bytes hold, i4 with a last axis twice as long; what is not u8 as it is."""
    return TensorType(DType.I4, (*held.shape[:-1], held.shape[-1] * 2)) if held.dtype is DType.U8 else held


def unpacked_state(cache: StateType) -> StateType:
    """`unpacked` of a cache."""
    return StateType(cache.layout, unpacked(cache.tensor))


def dequantized(codes: TensorType, scale: TensorType, dtype: DType) -> TensorType:
    """The type of the numbers whose codes are held in bytes. Raises IRTypeError."""
    if codes.dtype is not DType.U8:
        raise IRTypeError(f"codes are {codes}, expected u8")
    dequantize_tensor.rule(unpacked(codes), scale, dtype=dtype)
    return unpacked(codes).with_dtype(dtype)


def codes_from_zero(x: Tensor, scale: Tensor) -> Tensor:
    """The codes of x plus 8, as bytes."""
    return quantize_tensor.evaluate([x, scale], {"to": DType.I4}).to(torch.uint8) + OFFSET


def numbers(from_zero: Tensor, scale: Tensor, dtype: DType) -> Tensor:
    """The numbers whose codes plus 8 these are."""
    return dequantize_tensor.evaluate([from_zero.to(torch.int8) - OFFSET, scale], {"dtype": dtype})


def packing_cost(op: Op) -> Cost:
    return default_cost(op, op.inputs[0].type.elements * 6)


def unpacking_cost(op: Op) -> Cost:
    return default_cost(op, op.result.type.elements * 3)
