"""Causal convolution and running sums: what mixes each token with those before it, with a state to go on from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.declare import AxisFlow, op
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.convolution import convolution
from graphwright.ir.ops.rules import normal_axis, require_number, require_rank
from graphwright.ir.ops.states import final_state, real_tokens
from graphwright.ir.types import StateType, TensorType

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["causal_conv", "running_sum"]


@op("causal_conv")
def causal_conv(
    x: TensorType,
    weight: TensorType,
    bias: TensorType | None = None,
    state: StateType | None = None,
    new_length: TensorType | None = None,
    *,
    groups: int,
    dilation: int = 1,
) -> tuple[TensorType, StateType]:
    """Convolution along tokens of x [batch, in, tokens] that never looks ahead.

    weight is [out, in / groups, width]; its last column falls on the token itself, the one before on the token
    `dilation` earlier. bias is [out], the result [batch, out, tokens]. The state holds each row's last
    (width - 1) * dilation inputs, [batch, in, (width - 1) * dilation]; see `ir/ops/states.py` for the protocol.
    """
    require_rank("x", x, 3)
    width = weight.shape[-1].constant if weight.rank == 3 else None
    if width is None or width < 2:
        raise IRTypeError(f"weight {weight} is not [out, in / groups, width] with a width of 2 or more")
    past = (width - 1) * dilation
    attributes = {"stride": (1,), "padding": (past, 0), "dilation": (dilation,), "groups": groups}
    y = convolution.rule(x, weight, bias, **attributes)
    assert isinstance(y, TensorType)
    return y, final_state(x.with_shape(*x.shape[:2], past), state, new_length, x.shape[0])


@causal_conv.reference
def causal_conv_reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    state: Tensor | None,
    new_length: Tensor | None,
    *,
    groups: int,
    dilation: int,
) -> tuple[Tensor, Tensor]:
    past = (weight.shape[2] - 1) * dilation
    before = x.new_zeros(*x.shape[:2], past) if state is None else state
    joined = torch.cat([before, x], 2)
    y = torch.nn.functional.conv1d(joined, weight, bias, dilation=dilation, groups=groups)
    ends = torch.full((x.shape[0],), x.shape[2]) if new_length is None else new_length
    last = ends[:, None, None] + torch.arange(past)
    return y, joined.gather(2, last.expand(*x.shape[:2], past))


@causal_conv.axes
def causal_conv_axes(op: Op) -> AxisFlow:
    x, weight = op.required("x").type, op.required("weight").type
    depthwise = op.attributes["groups"] == x.shape[1] and weight.shape[0] is x.shape[1]
    channel = 1 if depthwise else None
    flows = {
        "x": (0, channel, None),
        "weight": (channel, None, None),
        "bias": (channel,),
        "state": (0, channel, None),
        "new_length": (0,),
    }
    return tuple(flows[o.name] for o, v in zip(op.definition.operands, op.operands, strict=True) if v is not None)


@causal_conv.cost
def causal_conv_cost(op: Op) -> Cost:
    weight = op.required("weight").type
    return default_cost(op, op.results[0].type.elements * weight.shape[1] * weight.shape[2] * 2)


@op("running_sum")
def running_sum(
    x: TensorType, state: StateType | None = None, new_length: TensorType | None = None, *, axis: int
) -> tuple[TensorType, StateType]:
    """Running sums of x [batch, ...] along its token axis, which is not the first.

    The state is the sum over a row's tokens so far, x's shape without the token axis; see `ir/ops/states.py`.
    """
    require_number("x", x)
    token = normal_axis(axis, x.rank)
    if token == 0:
        raise IRTypeError("the first axis is the batch, it cannot be that of the tokens")
    rest = (d for i, d in enumerate(x.shape) if i != token)
    return x, final_state(x.with_shape(*rest), state, new_length, x.shape[0])


@running_sum.reference
def running_sum_reference(
    x: Tensor, state: Tensor | None, new_length: Tensor | None, *, axis: int
) -> tuple[Tensor, Tensor]:
    token = axis % x.dim()
    sums = x.cumsum(token)
    real = real_tokens(new_length, x.shape[0], x.shape[token])
    real = real.reshape(x.shape[0], *(x.shape[token] if i == token else 1 for i in range(1, x.dim())))
    total = (x * real).sum(token)
    return (sums, total) if state is None else (sums + state.unsqueeze(token), total + state)


@running_sum.axes
def running_sum_axes(op: Op) -> AxisFlow:
    # The state lacks the token axis, so that only the axes before it stand where they do in x.
    x, axis = op.required("x").type, op.attribute("axis", int)
    kept = tuple(i if i < axis % x.rank else None for i in range(x.rank))
    flows = [kept]
    if op.operand("state") is not None:
        flows.append(kept[:-1])
    if op.operand("new_length") is not None:
        flows.append((0,))
    return tuple(flows)
