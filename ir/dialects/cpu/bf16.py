"""Products whose operands are rounded to bf16 as they go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.declare import op
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.elementwise import cast
from graphwright.ir.ops.matrix import linear
from graphwright.ir.types import DType, TensorType
from graphwright.ir.weights import Applied, WeightExpression

if TYPE_CHECKING:
    from torch import Tensor


@op("cpu.bf16_linear")
def bf16_linear(x: TensorType, weight: TensorType, bias: TensorType | None = None) -> TensorType:
    """`linear` in f32 of x and a weight that are both rounded to bf16. The bias is not rounded."""
    result = linear.rule(x, weight, bias)
    assert isinstance(result, TensorType)
    if result.dtype is not DType.F32:
        raise IRTypeError(f"products are summed in f32, and x is {x}")
    return result


@bf16_linear.reference
def bf16_linear_reference(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    # In float64 a graph is what it is without roundings, as casts are there.
    rounded = [x, weight] if x.dtype == torch.float64 else [v.bfloat16().to(v.dtype) for v in (x, weight)]
    return linear.evaluate([*rounded, bias], {})


@bf16_linear.cost
def bf16_linear_cost(op: Op) -> Cost:
    x, weight = op.required("x").type, op.required("weight")
    # A stored weight lies as the bf16 numbers that are multiplied.
    reads = {"weight": weight.type.elements * DType.BF16.bits} if weight.weight is not None else {}
    return default_cost(op, op.result.type.elements * x.shape[-1] * 2 + x.elements, reads=reads)


def narrow_form(weight: WeightExpression) -> WeightExpression | None:
    """The bf16 numbers of which an f32 weight is made, None for one that may hold others."""
    if not isinstance(weight, Applied) or weight.definition is not cast:
        return None
    (narrow,) = weight.operands
    assert narrow is not None
    widened = weight.attribute("dtype", DType) is DType.F32
    return narrow if widened and isinstance(narrow.type, TensorType) and narrow.type.dtype is DType.BF16 else None
