"""Tensors as codes: rounded by scales that are given, and read again. This is how a cache holds keys and values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.declare import op
from graphwright.ir.dims import Dim
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.ops.rules import aligned_right, broadcast, last, require_float
from graphwright.ir.rounding import Grid
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.traits import Trait
from graphwright.ir.types import CODE_TYPES, DType, TensorType

if TYPE_CHECKING:
    from torch import Tensor


__all__ = ["bitcast", "dequantize_tensor", "quantize_tensor"]

TENSOR_CODES = CODE_TYPES - {DType.F4E2M1}
"""Codes that a plain tensor can hold: those that are numbers themselves."""

SMALLEST_SCALE = 2.0**-126
"""The least scale of a token, so that a token of zeros has a reciprocal: the smallest normal float32."""


def _require_scale(scale: TensorType, x: TensorType) -> None:
    require_float("scale", scale)
    if broadcast(x.shape, scale.shape) != x.shape:
        raise IRTypeError(f"scale {scale} does not broadcast to {x}")


@op("quantize_tensor", Trait.ELEMENTWISE)
def quantize_tensor(x: TensorType, scale: TensorType, *, to: DType) -> TensorType:
    """The nearest code of type `to` to each x / scale, ties to even; what is out of range is cut off.

    The scale broadcasts to x: one number, one a channel, one a token. x is multiplied by the scale's reciprocal, as
    ONNX Runtime's GroupQueryAttention does, which decides ties.
    """
    require_float("x", x)
    _require_scale(scale, x)
    if to not in TENSOR_CODES:
        raise IRTypeError(f"there are no codes of {to} in a plain tensor")
    return x.with_dtype(to)


@quantize_tensor.reference
def quantize_tensor_reference(x: Tensor, scale: Tensor, *, to: DType) -> Tensor:
    return Grid(to).encode(x * scale.reciprocal())


@op("dequantize_tensor", Trait.ELEMENTWISE)
def dequantize_tensor(codes: TensorType, scale: TensorType, *, dtype: DType = DType.F32) -> TensorType:
    """The numbers that codes stand for, codes * scale, as `dtype`. The scale broadcasts to the codes."""
    if codes.dtype not in TENSOR_CODES:
        raise IRTypeError(f"{codes} holds no codes")
    _require_scale(scale, codes)
    if not dtype.is_float:
        raise IRTypeError(f"{dtype} is not floating point")
    return codes.with_dtype(dtype)


@dequantize_tensor.reference
def dequantize_tensor_reference(codes: Tensor, scale: Tensor, *, dtype: DType) -> Tensor:
    return codes.to(scale.dtype) * scale


quantize_tensor.axes(aligned_right)
dequantize_tensor.axes(aligned_right)


@quantize_tensor.cost
def quantize_tensor_cost(op: Op) -> Cost:
    return default_cost(op, op.result.type.elements * 4)


@dequantize_tensor.cost
def dequantize_tensor_cost(op: Op) -> Cost:
    return default_cost(op, op.result.type.elements)


@op("bitcast", view=True)
def bitcast(x: TensorType, *, to: DType) -> TensorType:
    """Integers [..., n] of whole bytes, lowest byte first, as elements `to` of no more bits: [..., n * bits / bits]."""
    if not x.dtype.is_integer or x.dtype.bits < 8:
        raise IRTypeError(f"x must hold integers of whole bytes, it is {x}")
    if to is DType.BOOL or to.bits < 8 or to.bits > x.dtype.bits:
        raise IRTypeError(f"elements of {x.dtype} do not divide into {to}")
    return TensorType(to, (*x.shape[:-1], last("x", x) * Dim.of(x.dtype.bits // to.bits)))


@bitcast.reference
def bitcast_reference(x: Tensor, *, to: DType) -> Tensor:
    return x.contiguous().view(torch_dtype(to))
