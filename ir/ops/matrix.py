"""Products of matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.declare import AxisFlow, op
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.rules import broadcast, keep_but, last, require_equal, require_float, require_rank, same_dtype
from graphwright.ir.quantized import QuantizedTensor
from graphwright.ir.types import QuantizedType, TensorType

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["linear", "matmul"]


@op("linear")
def linear(x: TensorType, weight: TensorType | QuantizedType, bias: TensorType | None = None) -> TensorType:
    """x [..., in] times weight [out, in] transposed, plus bias [out]: [..., out].

    A quantized weight, grouped along `in`, stands for its numbers; x is taken as it is.
    """
    require_float("x", x)
    require_rank("weight", weight, 2)
    if isinstance(weight, TensorType):
        same_dtype(x, weight)
    elif weight.axis != -1:
        raise IRTypeError(f"weight {weight} must be grouped along its last axis")
    require_equal("last axis of x and of weight", last("x", x), weight.shape[1])
    if bias is not None:
        require_rank("bias", bias, 1)
        same_dtype(x, bias)
        require_equal("bias and rows of weight", bias.shape[0], weight.shape[0])
    return TensorType(x.dtype, (*x.shape[:-1], weight.shape[0]))


@linear.reference
def linear_reference(x: Tensor, weight: Tensor | QuantizedTensor, bias: Tensor | None) -> Tensor:
    matrix = weight.dequantize(x.dtype) if isinstance(weight, QuantizedTensor) else weight
    return torch.nn.functional.linear(x, matrix, bias)


@linear.axes
def linear_axes(op: Op) -> AxisFlow:
    return keep_but(op, -1)


@linear.cost
def linear_cost(op: Op) -> Cost:
    return default_cost(op, op.results[0].type.elements * op.inputs[0].type.shape[-1] * 2)


@op("matmul")
def matmul(x: TensorType, y: TensorType) -> TensorType:
    """x [..., m, k] times y [..., k, n]; leading axes broadcast."""
    require_float("x", x)
    same_dtype(x, y)
    if x.rank < 2 or y.rank < 2:
        raise IRTypeError("both operands need two axes or more")
    require_equal("last axis of x and last but one of y", x.shape[-1], y.shape[-2])
    return TensorType(x.dtype, (*broadcast(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1]))


@matmul.reference
def matmul_reference(x: Tensor, y: Tensor) -> Tensor:
    return x @ y


@matmul.axes
def matmul_axes(op: Op) -> AxisFlow:
    result = op.results[0].type

    def flow(type: TensorType, kept: int) -> tuple[int | None, ...]:
        offset = result.rank - type.rank
        leading = (i + offset if d is result.shape[i + offset] else None for i, d in enumerate(type.shape[:-2]))
        last = (result.rank - 2, None) if kept == -2 else (None, result.rank - 1)
        return (*leading, *last)

    x, y = op.inputs
    return (flow(x.tensor, -2), flow(y.tensor, -1))


@matmul.cost
def matmul_cost(op: Op) -> Cost:
    return default_cost(op, op.results[0].type.elements * op.inputs[0].type.shape[-1] * 2)
