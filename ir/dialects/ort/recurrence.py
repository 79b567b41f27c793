"""Kernels of ONNX Runtime for layers with a recurrent state, as ops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.attributes import Attribute
from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.declare import op
from graphwright.ir.dims import Dim
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.ops.causal import causal_conv
from graphwright.ir.ops.recurrence import linear_recurrence
from graphwright.ir.ops.rules import require_rank
from graphwright.ir.types import StateType, TensorType

if TYPE_CHECKING:
    from torch import Tensor


@op("ort.causal_conv")
def stateful_conv(
    x: TensorType,
    weight: TensorType,
    bias: TensorType | None = None,
    state: StateType | None = None,
    new_length: TensorType | None = None,
    *,
    dilation: int = 1,
) -> tuple[TensorType, StateType]:
    """`causal_conv` of each channel by itself: weight is [channels, 1, width]."""
    require_rank("x", x, 3)
    groups = x.shape[1].constant
    if groups is None or weight.rank != 3 or weight.shape[:2] != (x.shape[1], Dim.of(1)):
        raise IRTypeError(f"weight {weight} is not one window for each channel of {x}")
    attributes: dict[str, Attribute] = {"groups": groups, "dilation": dilation}
    y, final = causal_conv.infer((x, weight, bias, state, new_length), attributes)
    assert isinstance(y, TensorType)
    assert isinstance(final, StateType)
    return y, final


@stateful_conv.reference
def stateful_conv_reference(
    x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor | None, new_length: Tensor | None, *, dilation: int
) -> tuple[Tensor, Tensor]:
    return causal_conv.evaluate([x, weight, bias, state, new_length], {"groups": x.shape[1], "dilation": dilation})


@op("ort.linear_attention")
def linear_attention(
    q: TensorType,
    k: TensorType,
    v: TensorType,
    decay: TensorType | None = None,
    beta: TensorType | None = None,
    state: StateType | None = None,
    new_length: TensorType | None = None,
    *,
    groups: int,
    heads: int,
) -> tuple[TensorType, StateType]:
    """`linear_recurrence` with the heads of each token side by side.

    q and k are [batch, tokens, groups * keys], v [batch, tokens, heads * values], decay [batch, tokens, heads * keys]
    or [batch, tokens, heads], beta [batch, tokens, heads]; the result is laid out as v, the state is the recurrence's.
    """
    for name, type in (("q", q), ("k", k), ("v", v)):
        require_rank(name, type, 3)

    def split(type: TensorType | None, count: int) -> TensorType | None:
        if type is None:
            return None
        size = type.shape[-1].exact_div(count)
        if type.rank != 3 or size is None:
            raise IRTypeError(f"{type} does not hold {count} heads side by side")
        return type.with_shape(type.shape[0], count, type.shape[1], size)

    gate = split(beta, heads)
    if gate is not None:
        gate = gate.with_shape(*gate.shape[:3])
    whole = (split(q, groups), split(k, groups), split(v, heads), split(decay, heads))
    _, final = linear_recurrence.infer((*whole, None, gate, state, new_length), {})
    assert isinstance(final, StateType)
    return v, final


@linear_attention.reference
def linear_attention_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor | None,
    beta: Tensor | None,
    state: Tensor | None,
    new_length: Tensor | None,
    *,
    groups: int,
    heads: int,
) -> tuple[Tensor, Tensor]:
    def split(x: Tensor | None, count: int) -> Tensor | None:
        return None if x is None else x.reshape(*x.shape[:2], count, -1).transpose(1, 2)

    gate = None if beta is None else beta.transpose(1, 2)
    operands = [split(q, groups), split(k, groups), split(v, heads), split(decay, heads), None, gate, state, new_length]
    y, last = linear_recurrence.evaluate(operands, {})
    return y.transpose(1, 2).flatten(2), last


@stateful_conv.cost
def stateful_conv_cost(op: Op) -> Cost:
    return causal_conv.price(op)


@linear_attention.cost
def linear_attention_cost(op: Op) -> Cost:
    v, final = op.required("v").type, op.results[1].type
    steps = v.elements * final.shape[2]
    flops = steps * (5 if op.operand("beta") is None else 9)
    return default_cost(op, flops)
