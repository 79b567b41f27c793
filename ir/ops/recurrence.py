"""Recurrences over tokens: linear attention in all its forms, and RWKV's weighted mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.declare import AxisFlow, op
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.rules import ONE, require_equal, require_float, require_rank, same_dtype
from graphwright.ir.ops.states import final_state, real_tokens
from graphwright.ir.types import StateType, TensorType

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["linear_recurrence", "weighted_mean"]


@op("linear_recurrence")
def linear_recurrence(
    q: TensorType,
    k: TensorType,
    v: TensorType,
    decay: TensorType | None = None,
    rates: TensorType | None = None,
    beta: TensorType | None = None,
    state: StateType | None = None,
    new_length: TensorType | None = None,
) -> tuple[TensorType, StateType]:
    """Linear attention as a recurrence: a matrix a head that decays, takes in k_t v_t^T and is read by q_t.

        h_t = diag(exp(rates * decay_t)) h_(t-1) + k_t u_t^T,   y_t = h_t^T q_t
        u_t = v_t, or with beta u_t = beta_t (v_t - (diag(exp(rates * decay_t)) h_(t-1))^T k_t)

    (Katharopoulos et al. 2020, eq. 16-20; with decay per head Sun et al. 2023 and Mamba-2, Dao & Gu 2024, eq. 1; per
    key Yang et al. 2024; with beta the gated delta rule, Yang et al. 2025, eq. 10.) q and k are [batch, groups, tokens,
    keys], v is [batch, heads, tokens, values]; heads of a group stand together. decay [batch, heads, tokens, keys or 1]
    is a logarithm; rates [heads, keys or 1] multiply it, so that Mamba's exp(dt A) (Gu & Dao 2023, eq. 4) needs no
    tensor of tokens times channels times keys. beta is [batch, heads, tokens]. The result is [batch, heads, tokens,
    values], the state h [batch, heads, keys, values]; see `ir/ops/states.py` for the protocol.
    """
    for name, type in (("q", q), ("k", k), ("v", v)):
        require_float(name, type)
        require_rank(name, type, 4)
    same_dtype(q, k, v, *(t for t in (decay, rates, beta) if t is not None))
    if q != k:
        raise IRTypeError(f"q is {q} and k {k}")
    batch, heads, tokens, values = v.shape
    keys = k.shape[3]
    require_equal("batch of k and of v", k.shape[0], batch)
    require_equal("tokens of k and of v", k.shape[2], tokens)
    if heads.exact_div(k.shape[1]) is None:
        raise IRTypeError(f"{heads} heads do not divide over {k.shape[1]} groups of keys")
    if decay is not None and (decay.rank != 4 or decay.shape[:3] != v.shape[:3] or decay.shape[3] not in (keys, ONE)):
        raise IRTypeError(f"decay is {decay}, expected [{batch}, {heads}, {tokens}, {keys} or 1]")
    if rates is not None and (decay is None or rates.rank != 2 or rates.shape[0] is not heads):
        raise IRTypeError(f"rates are {rates}, expected [{heads}, {keys} or 1] beside a decay")
    if rates is not None and rates.shape[1] not in (keys, ONE):
        raise IRTypeError(f"rates are {rates}, expected [{heads}, {keys} or 1] beside a decay")
    if beta is not None and beta.shape != (batch, heads, tokens):
        raise IRTypeError(f"beta is {beta}, expected [{batch}, {heads}, {tokens}]")
    return v, final_state(v.with_shape(batch, heads, keys, values), state, new_length, batch)


@linear_recurrence.reference
def linear_recurrence_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor | None,
    rates: Tensor | None,
    beta: Tensor | None,
    state: Tensor | None,
    new_length: Tensor | None,
) -> tuple[Tensor, Tensor]:
    batch, heads, tokens, _ = v.shape
    q, k = (x.repeat_interleave(heads // x.shape[1], 1) for x in (q, k))
    real = real_tokens(new_length, batch, tokens)[:, :, None, None, None]
    h = v.new_zeros(batch, heads, k.shape[3], v.shape[3]) if state is None else state
    y = torch.empty_like(v)
    for t in range(tokens):
        key = k[:, :, t, :, None]
        logarithm = None if decay is None else decay[:, :, t] * (1 if rates is None else rates)
        after = h if logarithm is None else logarithm.exp()[..., None] * h
        taken = v[:, :, t, None]
        if beta is not None:
            taken = beta[:, :, t, None, None] * (taken - key.mT @ after)
        h = torch.where(real[:, t], after + key * taken, h)
        y[:, :, t] = (h * q[:, :, t, :, None]).sum(2)
    return y, h


@linear_recurrence.axes
def linear_recurrence_axes(op: Op) -> AxisFlow:
    groups = 1 if op.required("k").type.shape[1] is op.required("v").type.shape[1] else None
    flows: dict[str, tuple[int | None, ...]] = {
        "q": (0, groups, None, None),
        "k": (0, groups, None, None),
        "v": (0, 1, None, 3),
        "decay": (0, 1, None, None),
        "rates": (1, None),
        "beta": (0, 1, None),
        "state": (0, 1, None, 3),
        "new_length": (0,),
    }
    return tuple(flows[o.name] for o, v in zip(op.definition.operands, op.operands, strict=True) if v is not None)


@linear_recurrence.cost
def linear_recurrence_cost(op: Op) -> Cost:
    steps = op.required("v").type.elements * op.required("k").type.shape[3]
    each = 4 + (op.operand("decay") is not None) + (4 if op.operand("beta") is not None else 0)
    return default_cost(op, steps * each)


@op("weighted_mean")
def weighted_mean(
    key: TensorType,
    value: TensorType,
    decay: TensorType,
    bonus: TensorType,
    state: StateType | None = None,
    new_length: TensorType | None = None,
) -> tuple[TensorType, StateType]:
    """RWKV's attention (Peng et al. 2023, eq. 16): for each channel a mean of the values so far, weighted by

        exp(key_i + (t - 1 - i) * decay) for the tokens i before t, exp(key_t + bonus) for t itself.

    key and value are [batch, tokens, channels], decay (negative) and bonus [channels]. The state [batch, 3, channels]
    holds numerator and denominator, both divided by the exponential of the third, the largest exponent so far; it is
    what keeps the exponentials finite. See `ir/ops/states.py` for the protocol.
    """
    require_float("key", key)
    require_rank("key", key, 3)
    if value != key:
        raise IRTypeError(f"key is {key} and value {value}")
    batch, _, channels = key.shape
    for name, type in (("decay", decay), ("bonus", bonus)):
        if type != key.with_shape(channels):
            raise IRTypeError(f"{name} is {type}, expected {key.with_shape(channels)}")
    return key, final_state(key.with_shape(batch, 3, channels), state, new_length, batch)


@weighted_mean.reference
def weighted_mean_reference(
    key: Tensor, value: Tensor, decay: Tensor, bonus: Tensor, state: Tensor | None, new_length: Tensor | None
) -> tuple[Tensor, Tensor]:
    batch, tokens, channels = key.shape
    real = real_tokens(new_length, batch, tokens)[:, :, None]
    zeros = key.new_zeros(batch, 3, channels)
    numerator, denominator, largest = (zeros if state is None else state).unbind(1)
    y = torch.empty_like(key)
    for t in range(tokens):
        k, v = key[:, t], value[:, t]
        # A row that has seen a token has a denominator of 1 or more.
        known = torch.where(denominator > 0, largest, float("-inf"))
        top = torch.maximum(known, k + bonus)
        before, now = (known - top).exp(), (k + bonus - top).exp()
        y[:, t] = (before * numerator + now * v) / (before * denominator + now)
        top = torch.maximum(known + decay, k)
        before, now = (known + decay - top).exp(), (k - top).exp()
        numerator = torch.where(real[:, t], before * numerator + now * v, numerator)
        denominator = torch.where(real[:, t], before * denominator + now, denominator)
        largest = torch.where(real[:, t], top, largest)
    return y, torch.stack([numerator, denominator, largest], 1)


@weighted_mean.axes
def weighted_mean_axes(op: Op) -> AxisFlow:
    flows: dict[str, tuple[int | None, ...]] = {
        "key": (0, None, 2),
        "value": (0, None, 2),
        "decay": (2,),
        "bonus": (2,),
        "state": (0, None, 2),
        "new_length": (0,),
    }
    return tuple(flows[o.name] for o, v in zip(op.definition.operands, op.operands, strict=True) if v is not None)


@weighted_mean.cost
def weighted_mean_cost(op: Op) -> Cost:
    return default_cost(op, op.results[0].type.elements * 16)
