"""Products that round their activations as they go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.declare import op
from graphwright.ir.graph import Op
from graphwright.ir.ops.matrix import linear
from graphwright.ir.ops.quantization import fake_quantize
from graphwright.ir.quantized import QuantizedTensor
from graphwright.ir.types import DType, QuantizedType, TensorType

if TYPE_CHECKING:
    from torch import Tensor


@op("cpu.rounded_linear")
def rounded_linear(
    x: TensorType, weight: QuantizedType, bias: TensorType | None = None, *, group: int = 0
) -> TensorType:
    """`linear` of `fake_quantize` of x to i8, in groups of `group` (0: a scale a token), with a quantized weight.

    Codes are multiplied by codes, and sums of integers by both scales.
    """
    fake_quantize.rule(x, to=DType.I8, group=group)
    result = linear.rule(x, weight, bias)
    assert isinstance(result, TensorType)
    return result


@rounded_linear.reference
def rounded_linear_reference(x: Tensor, weight: QuantizedTensor, bias: Tensor | None, *, group: int) -> Tensor:
    rounded = fake_quantize.evaluate([x], {"to": DType.I8, "group": group})
    return linear.evaluate([rounded, weight, bias], {})


@rounded_linear.cost
def rounded_linear_cost(op: Op) -> Cost:
    x = op.required("x").type
    return default_cost(op, op.result.type.elements * x.shape[-1] * 2 + x.elements * 4)
