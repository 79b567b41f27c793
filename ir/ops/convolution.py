"""Convolution over any number of spatial axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.declare import AxisFlow, op
from graphwright.ir.dims import Dim
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.rules import require_equal, require_float, require_rank, same_dtype
from graphwright.ir.types import TensorType

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["convolution"]


@op("convolution")
def convolution(
    x: TensorType,
    weight: TensorType,
    bias: TensorType | None = None,
    *,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int = 1,
) -> TensorType:
    """x [batch, in, *lengths] correlated with weight [out, in / groups, *window], plus bias [out].

    The result is [batch, out, *lengths]. stride and dilation have one entry a spatial axis; padding has the zeros
    before each axis, then those after each. A length that is a symbol must stay a polynomial: with a stride above 1
    it must be a multiple of the stride but for a number.
    """
    require_float("x", x)
    spatial = x.rank - 2
    if spatial < 1 or weight.rank != x.rank:
        raise IRTypeError(f"x {x} and weight {weight} need a batch, channels and the same spatial axes")
    same_dtype(x, weight)
    if len(stride) != spatial or len(dilation) != spatial or len(padding) != 2 * spatial:
        raise IRTypeError(f"stride {stride}, padding {padding} and dilation {dilation} for {spatial} spatial axes")
    if groups < 1 or min(*stride, *dilation) < 1 or min(padding) < 0:
        raise IRTypeError(f"stride {stride}, padding {padding}, dilation {dilation} and {groups} groups")
    require_equal("channels of x and of weight times groups", x.shape[1], weight.shape[1] * groups)
    if weight.shape[0].exact_div(groups) is None:
        raise IRTypeError(f"{weight.shape[0]} output channels do not divide over {groups} groups")
    if bias is not None:
        require_rank("bias", bias, 1)
        same_dtype(x, bias)
        require_equal("bias and output channels", bias.shape[0], weight.shape[0])
    lengths = (
        _length(x.shape[2 + i] + padding[i] + padding[spatial + i] - (weight.shape[2 + i] - 1) * dilation[i], stride[i])
        for i in range(spatial)
    )
    return x.with_shape(x.shape[0], weight.shape[0], *lengths)


def _length(places: Dim, stride: int) -> Dim:
    """How many windows start at one of the places: every stride-th, the first included."""
    rest = (places - 1).terms
    number = next((c for monomial, c in rest if not monomial), 0)
    steps = (places - 1 - number).exact_div(stride)
    if steps is None:
        raise IRTypeError(f"{places} places for a window with a stride of {stride} give no polynomial")
    result = steps + number // stride + 1
    if result.constant is not None and result.constant < 1:
        raise IRTypeError("the window is longer than its axis")
    return result


@convolution.reference
def convolution_reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> Tensor:
    spatial = len(stride)
    # torch counts the axes to pad from the last.
    pairs = [n for i in reversed(range(spatial)) for n in (padding[i], padding[spatial + i])]
    padded = torch.nn.functional.pad(x, pairs)
    nothing = [0] * spatial
    return torch.convolution(padded, weight, bias, stride, nothing, dilation, False, nothing, groups)


@convolution.axes
def convolution_axes(op: Op) -> AxisFlow:
    weight, stride = op.required("weight").type, op.attribute("stride", tuple[int, ...])
    sides = op.attribute("padding", tuple[int, ...])
    spatial = len(stride)

    def stays(i: int) -> bool:
        return weight.shape[2 + i] == 1 and stride[i] == 1 and not sides[i] and not sides[spatial + i]

    x = (0, None, *(2 + i if stays(i) else None for i in range(spatial)))
    flows: list[tuple[int | None, ...]] = [x, (1, *(None,) * (weight.rank - 1))]
    if op.operand("bias") is not None:
        flows.append((1,))
    return tuple(flows)


@convolution.cost
def convolution_cost(op: Op) -> Cost:
    weight = op.required("weight").type
    window = Dim.of(2)
    for length in weight.shape[1:]:
        window = window * length
    return default_cost(op, op.result.type.elements * window)
