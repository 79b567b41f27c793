"""A product with a matrix of weights, what comes before it and what comes behind it, in one launch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.declare import op
from graphwright.ir.dims import Dim
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.ops.matrix import linear
from graphwright.ir.ops.neural import Activation, glu, rms_norm
from graphwright.ir.quantized import QuantizedTensor
from graphwright.ir.types import QuantizedType, TensorType

if TYPE_CHECKING:
    from torch import Tensor


@op("cuda.linear")
def fused_linear(
    x: TensorType,
    weight: TensorType | QuantizedType,
    bias: TensorType | None = None,
    gain: TensorType | None = None,
    residual: TensorType | None = None,
    *,
    epsilon: float = 0.0,
    gated: bool = False,
    kind: Activation = "silu",
) -> TensorType:
    """`linear` of x [..., in], of its `rms_norm` by `gain` where there is one; what is behind it is in float32.

    If `gated`, the first half of the columns are gates and the second half what they let through: `glu` of the kind.
    The residual, of the type of the result, is added last.
    """
    if gain is not None:
        rms_norm.rule(x, gain, epsilon=epsilon)
    result = linear.rule(x, weight, bias)
    assert isinstance(result, TensorType)
    if gated:
        columns = result.shape[-1].constant
        if columns is None or columns % 2:
            raise IRTypeError(f"{result.shape[-1]} columns are not as many gates as values")
        result = TensorType(result.dtype, (*result.shape[:-1], Dim.of(columns // 2)))
    if residual is not None and residual != result:
        raise IRTypeError(f"the residual is {residual}, the product {result}")
    return result


@fused_linear.reference
def fused_linear_reference(
    x: Tensor,
    weight: Tensor | QuantizedTensor,
    bias: Tensor | None,
    gain: Tensor | None,
    residual: Tensor | None,
    *,
    epsilon: float,
    gated: bool,
    kind: Activation,
) -> Tensor:
    normed = x if gain is None else rms_norm.evaluate([x, gain], {"epsilon": epsilon})
    result: Tensor = linear.evaluate([normed, weight, bias], {})
    if gated:
        gate, up = result.chunk(2, -1)
        result = glu.evaluate([gate, up], {"kind": kind})
    return result if residual is None else result + residual


@fused_linear.cost
def fused_linear_cost(op: Op) -> Cost:
    x, weight = op.inputs[0].type, op.required("weight").type
    rows = x.elements * weight.shape[0]
    return default_cost(op, rows * 2)
