"""Mixture of experts: each token through the few feed-forward networks that a router chose for it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from graphwright.ir.cost import Cost, Size, default_cost, picked
from graphwright.ir.declare import AxisFlow, op
from graphwright.ir.dims import Dim, product
from graphwright.ir.errors import IRTypeError, UserError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.neural import Activation, activate
from graphwright.ir.ops.rules import last, require_equal, require_float, require_indices, require_rank, same_dtype
from graphwright.ir.quantized import QuantizedTensor
from graphwright.ir.types import QuantizedType, StateType, TensorType

if TYPE_CHECKING:
    from torch import Tensor
    from torch import dtype as TorchDType

__all__ = ["moe_experts"]


@op("moe_experts")
def moe_experts(
    x: TensorType,
    indices: TensorType,
    weights: TensorType,
    gate_up: TensorType | QuantizedType,
    down: TensorType | QuantizedType,
    gate_up_bias: TensorType | None = None,
    down_bias: TensorType | None = None,
    *,
    kind: Activation,
    gated: bool,
    alpha: float = 1.0,
    limit: float = math.inf,
    up_offset: float = 0.0,
) -> TensorType:
    """The sum over j of weights[..., j] * expert indices[..., j] of x, for each token (Shazeer et al. 2017, eq. 1).

    x [..., size], indices i64 [..., k], weights [..., k] of any float type; the result is x's type. Expert e computes
    down[e] @ inner + down_bias[e], with down [experts, size out, inner size]. Of h = gate_up[e] @ x + gate_up_bias[e]

        not gated: inner = activation(h), with gate_up [experts, inner size, size]
        gated: gate is the first half of h, up the second (gate_up [experts, 2 * inner size, size]), and
               inner = activation(min(gate, limit)) * (clamp(up, -limit, limit) + up_offset)

    alpha is that of silu: x * sigmoid(alpha * x). gpt-oss has alpha 1.702, limit 7 and up_offset 1. Quantized gate_up
    and down, grouped along their last axis, stand for their numbers.
    """
    require_float("x", x)
    require_float("weights", weights)
    require_rank("gate_up", gate_up, 3)
    require_rank("down", down, 3)
    same_dtype(*(t for t in (x, gate_up, down, gate_up_bias, down_bias) if isinstance(t, TensorType)))
    for name, weight in (("gate_up", gate_up), ("down", down)):
        if isinstance(weight, QuantizedType) and weight.axis != -1:
            raise IRTypeError(f"{name} {weight} must be grouped along its last axis")
    require_equal("last axis of x and of gate_up", last("x", x), gate_up.shape[2])
    require_indices("indices", indices, x.rank)
    if weights.shape != indices.shape or indices.shape[:-1] != x.shape[:-1]:
        raise IRTypeError(f"indices {indices} and weights {weights} are not those of the tokens of {x}")
    inner = gate_up.shape[1].exact_div(2) if gated else gate_up.shape[1]
    require_equal("experts of gate_up and of down", gate_up.shape[0], down.shape[0])
    if inner is not down.shape[2]:
        raise IRTypeError(f"gate_up {gate_up}{', gated,' if gated else ''} does not fit down {down}")
    for name, bias, weight in (("gate_up_bias", gate_up_bias, gate_up), ("down_bias", down_bias, down)):
        if bias is not None and bias.shape != weight.shape[:2]:
            raise IRTypeError(f"{name} is {bias}, its weight {weight}")
    if alpha != 1.0 and kind != "silu":
        raise IRTypeError(f"alpha {alpha} for {kind}: only silu has one")
    if not gated and (limit != math.inf or up_offset != 0.0):
        raise IRTypeError("limit and up_offset belong to a gate")
    if not limit > 0:
        raise IRTypeError(f"the limit is {limit}")
    return TensorType(x.dtype, (*x.shape[:-1], down.shape[1]))


def gate_units(h: Tensor, kind: Activation, gated: bool, alpha: float, limit: float, up_offset: float) -> Tensor:
    """`inner` of the docstring above, for h [..., inner size or twice that]."""
    if not gated:
        return _activate(h, kind, alpha)
    gate, up = h.chunk(2, -1)
    if limit != math.inf:
        gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
    return _activate(gate, kind, alpha) * (up + up_offset)


def _activate(x: Tensor, kind: Activation, alpha: float) -> Tensor:
    return x * torch.sigmoid(alpha * x) if alpha != 1.0 else activate(x, kind)


@moe_experts.reference
def moe_experts_reference(
    x: Tensor,
    indices: Tensor,
    weights: Tensor,
    gate_up: Tensor | QuantizedTensor,
    down: Tensor | QuantizedTensor,
    gate_up_bias: Tensor | None,
    down_bias: Tensor | None,
    *,
    kind: Activation,
    gated: bool,
    alpha: float,
    limit: float,
    up_offset: float,
) -> Tensor:
    linear = torch.nn.functional.linear
    tokens, chosen, share = (t.reshape(-1, t.shape[-1]) for t in (x, indices, weights.to(x.dtype)))
    experts = down.shape[0]
    result = x.new_zeros(tokens.shape[0], down.shape[1])
    if chosen.numel() and not 0 <= int(chosen.min()) <= int(chosen.max()) < experts:
        raise UserError(f"experts {int(chosen.min())} to {int(chosen.max())} are chosen, there are {experts}")
    for expert in range(experts):
        token, place = torch.where(chosen == expert)
        if not len(token):
            continue
        h = linear(
            tokens[token], _matrix(gate_up, expert, x.dtype), None if gate_up_bias is None else gate_up_bias[expert]
        )
        inner = gate_units(h, kind, gated, alpha, limit, up_offset)
        y = linear(inner, _matrix(down, expert, x.dtype), None if down_bias is None else down_bias[expert])
        result.index_add_(0, token, y * share[token, place, None])
    return result.reshape(*x.shape[:-1], down.shape[1])


def _matrix(stack: Tensor | QuantizedTensor, expert: int, dtype: TorchDType) -> Tensor:
    """The numbers of one expert's matrix."""
    if isinstance(stack, QuantizedTensor):
        return stack.rows(torch.tensor([expert])).dequantize(dtype)[0]
    return stack[expert]


@moe_experts.axes
def moe_experts_axes(op: Op) -> AxisFlow:
    token = (*range(op.inputs[0].type.rank - 1), None)
    return (token, token, token, *((None,) * v.type.rank for v in op.inputs[3:]))


@moe_experts.cost
def moe_experts_cost(op: Op) -> Cost:
    gate_up, down = (op.required(n).type for n in ("gate_up", "down"))
    pairs = product(op.required("indices").type.shape)
    each = gate_up.shape[1] * gate_up.shape[2] + down.shape[1] * down.shape[2]
    flops = pairs * (each * 2 + down.shape[2] * 5 + down.shape[1] * 2)
    return default_cost(op, flops, reads=chosen(op, pairs))


def chosen(op: Op, pairs: Dim) -> dict[str, Size]:
    """Bits read of experts of which `pairs` tokens choose one each: of as many experts, and no more than there are."""
    names = ("gate_up", "down", "gate_up_bias", "down_bias")
    found = {name: value.type for name in names if (value := op.operand(name)) is not None}
    return {name: picked(type, pairs) for name, type in found.items() if not isinstance(type, StateType)}
