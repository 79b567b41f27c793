"""Attention as a GPU does it: whole for many tokens, and for few with the context split over blocks of threads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.declare import op
from graphwright.ir.dialects.cpu.attention import fused_attention as cpu_attention
from graphwright.ir.dialects.cpu.attention import numbers_of
from graphwright.ir.dims import Dim
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.attention import Mask, visible
from graphwright.ir.ops.rules import require_rank
from graphwright.ir.types import DType, StateType, TensorType

if TYPE_CHECKING:
    from torch import Tensor

fused_attention = cpu_attention.alike("cuda.attention")

LOG2_E = math.log2(math.e)


@op("cuda.split_attention")
def split_attention(
    q: TensorType,
    k: TensorType | StateType,
    v: TensorType | StateType,
    positions: TensorType,
    key_length: TensorType | None = None,
    bias: TensorType | None = None,
    key_positions: TensorType | None = None,
    key_scale: TensorType | StateType | None = None,
    value_scale: TensorType | StateType | None = None,
    *,
    splits: int,
    scale: float,
    mask: Mask,
    window: int = 0,
    softcap: float = 0.0,
) -> TensorType:
    """`cuda.attention` over `splits` pieces of the keys of each row by themselves (Flash-Decoding, Dao et al. 2023).

    The key_length[b] keys of a row, or without it all, are cut into pieces of one length; the last ones may be shorter
    or have none. k and v are numbers or, where they have a scale, codes; operands are those of `cuda.attention`. The
    result is f32 [batch, heads, splits, sequence, value size + 2]: of each query the sum of the values of a piece, each
    times 2^(score - largest), where scores are in units of a factor of two; then the largest score; then the sum of
    those powers. A piece in which a query sees no key has zeros and -inf.
    """
    if splits < 1:
        raise IRTypeError(f"splits is {splits}; it must be at least 1")
    operands = (q, k, v, positions, key_length, bias, None, key_positions, key_scale, value_scale)
    seen = {"scale": scale, "mask": mask, "window": window, "softcap": softcap}
    result = fused_attention.rule(*operands, **seen, merged=False)
    assert isinstance(result, TensorType)
    batch, heads, sequence, size = result.shape
    return TensorType(DType.F32, (batch, heads, Dim.of(splits), sequence, size + 2))


@split_attention.reference
def split_attention_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    positions: Tensor,
    key_length: Tensor | None,
    bias: Tensor | None,
    key_positions: Tensor | None,
    key_scale: Tensor | None,
    value_scale: Tensor | None,
    *,
    splits: int,
    scale: float,
    mask: Mask,
    window: int,
    softcap: float,
) -> Tensor:
    k, v = numbers_of(k, key_scale, q), numbers_of(v, value_scale, q)
    group, keys = q.shape[1] // k.shape[1], k.shape[2]
    scores = (q * scale) @ k.repeat_interleave(group, 1).transpose(2, 3)
    if softcap > 0:
        scores = softcap * torch.tanh(scores / softcap)
    at, length = torch.arange(keys), torch.full((q.shape[0],), keys) if key_length is None else key_length
    length = length.reshape(-1, 1, 1)
    piece = torch.div(length + splits - 1, splits, rounding_mode="floor")
    first = piece * torch.arange(splits)[:, None]
    within = (at >= first) & (at < torch.minimum(first + piece, length))
    shown = visible(positions, keys, mask, window, key_positions)
    if bias is not None and bias.dtype is torch.bool:
        shown = shown & bias
    elif bias is not None:
        scores = scores + bias
    seen = shown[:, :, None] & within[:, None, :, None]
    masked = (scores[:, :, None] * LOG2_E).masked_fill(~seen, float("-inf"))
    largest = masked.amax(-1, keepdim=True)
    powers = torch.exp2(masked - largest).masked_fill(masked == float("-inf"), 0.0)
    # What a cache holds behind the length, or where a ring has no position yet, is anything, and weighs nothing.
    held = at < length[..., 0] if key_positions is None else key_positions >= 0
    values = v.masked_fill(~held[:, None, :, None], 0.0).repeat_interleave(group, 1)
    return torch.cat([powers @ values[:, :, None], largest, powers.sum(-1, keepdim=True)], -1)


@split_attention.cost
def split_attention_cost(op: Op) -> Cost:
    q, k, v = (op.required(n).type for n in ("q", "k", "v"))
    scores = q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2]
    return default_cost(op, scores * (q.shape[3] * 2 + v.shape[3] * 2 + 5))


@op("cuda.combine_splits")
def combine_splits(partial: TensorType, sinks: TensorType | None = None, *, dtype: DType) -> TensorType:
    """`merge_heads` of attention, from the pieces of `cuda.split_attention`: [batch, sequence, heads * value size].

    sinks [heads] are those of `attention`. A query that sees no key gives zeros.
    """
    require_rank("partial", partial, 5)
    batch, heads, _, sequence, width = partial.shape
    size = width.constant
    if partial.dtype is not DType.F32 or size is None or size < 3:
        raise IRTypeError(f"{partial} is not of pieces of attention")
    if sinks is not None and sinks.shape != (heads,):
        raise IRTypeError(f"sinks are {sinks} for {heads} heads")
    return TensorType(dtype, (batch, sequence, heads * (size - 2)))


@combine_splits.reference
def combine_splits_reference(partial: Tensor, sinks: Tensor | None, *, dtype: DType) -> Tensor:
    sums, largest, totals = partial[..., :-2], partial[..., -2:-1], partial[..., -1:]
    most = largest.amax(2, keepdim=True)
    weights = torch.exp2(largest - most).masked_fill(totals == 0, 0.0)
    total = (totals * weights).sum(2)
    if sinks is not None:
        # Where no key is seen the sink has all the weight, of no value.
        total = total + torch.exp2(sinks.reshape(1, -1, 1, 1) * LOG2_E - most[:, :, 0])
    result = (sums * weights).sum(2) / total
    return result.masked_fill(most[:, :, 0] == float("-inf"), 0.0).transpose(1, 2).flatten(2)


@combine_splits.cost
def combine_splits_cost(op: Op) -> Cost:
    return default_cost(op, op.required("partial").type.elements * 3)
