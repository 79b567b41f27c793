"""Attention and rotary embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from graphwright.ir.cost import ZERO, Cost, default_cost
from graphwright.ir.declare import AxisFlow, op
from graphwright.ir.dims import Dim
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.rules import (
    ONE,
    broadcast,
    require_equal,
    require_float,
    require_indices,
    require_rank,
    same_dtype,
)
from graphwright.ir.traits import Trait
from graphwright.ir.types import DType, StateType, TensorType

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["attention", "rope"]

Mask = Literal["full", "causal", "sliding", "chunked", "prefix"]


def _require_positions(name: str, positions: TensorType, batch: Dim, length: Dim) -> None:
    require_indices(name, positions, 2)
    if positions.shape[0] is not batch and positions.shape[0] is not ONE:
        raise IRTypeError(f"{name} {positions} has another batch than {batch}")
    require_equal(f"length of {name} and of the sequence", positions.shape[1], length)


@op("attention")
def attention(
    q: TensorType,
    k: TensorType | StateType,
    v: TensorType | StateType,
    positions: TensorType,
    key_length: TensorType | None = None,
    bias: TensorType | None = None,
    sinks: TensorType | None = None,
    key_positions: TensorType | None = None,
    *,
    scale: float,
    mask: Mask,
    window: int = 0,
    softcap: float = 0.0,
) -> TensorType:
    """Scaled dot-product attention with grouped queries (Ainslie et al. 2023).

    q [batch, heads, sequence, size]; k and v [batch, kv heads, keys, size], plain or in a cache; the result is
    [batch, heads, sequence, size of v]. Query i of row b stands at positions[b, i] (i64 [batch or 1, sequence]). Key j
    stands at position j, and those from key_length[b] (i64 [batch]) on are absent; or it stands at key_positions[b, j]
    (i64 [batch or 1, keys]) and is absent where that is negative. A query at p sees a key at j if

        full: always    causal: j <= p    sliding: p - window < j <= p    chunked: j <= p in the same chunk of `window`
        prefix: j <= p or j < window

    bias, broadcast to [batch, heads, sequence, keys], is added to the scores, or, if bool, hides where it is false.
    sinks [heads] joins each softmax as one more score without a value. softcap > 0 bends the scaled scores by
    softcap * tanh(score / softcap) before bias and mask. A query that sees no key gives zeros.
    """
    require_float("q", q)
    key, value = (t.tensor if isinstance(t, StateType) else t for t in (k, v))
    for name, type in (("q", q), ("k", key), ("v", value)):
        require_rank(name, type, 4)
    same_dtype(q, key, value)
    require_equal("head size of q and of k", q.shape[3], key.shape[3])
    require_equal("heads of k and of v", key.shape[1], value.shape[1])
    require_equal("length of k and of v", key.shape[2], value.shape[2])
    require_equal("batch of q and of k", q.shape[0], key.shape[0])
    require_equal("batch of k and of v", key.shape[0], value.shape[0])
    if q.shape[1].exact_div(key.shape[1]) is None:
        raise IRTypeError(f"{q.shape[1]} query heads do not divide over {key.shape[1]} key heads")
    _require_positions("positions", positions, q.shape[0], q.shape[2])
    if key_length is not None:
        require_indices("key_length", key_length, 1)
        require_equal("batch of q and key_length", q.shape[0], key_length.shape[0])
    if key_positions is not None:
        if key_length is not None:
            raise IRTypeError("key_positions say which keys are absent; key_length cannot be given too")
        _require_positions("key_positions", key_positions, q.shape[0], key.shape[2])
    if bias is not None:
        whole = (q.shape[0], q.shape[1], q.shape[2], key.shape[2])
        if broadcast(bias.shape, whole) != whole:
            raise IRTypeError(f"bias {bias} does not broadcast to the scores")
        if bias.dtype is not DType.BOOL:
            same_dtype(q, bias)
    if sinks is not None:
        require_rank("sinks", sinks, 1)
        require_float("sinks", sinks)
        require_equal("sinks and query heads", sinks.shape[0], q.shape[1])
    if (mask in ("sliding", "chunked", "prefix")) != (window > 0):
        raise IRTypeError(f"mask '{mask}' with a window of {window}")
    return TensorType(q.dtype, (*q.shape[:3], value.shape[3]))


def visible(positions: Tensor, keys: int, mask: Mask, window: int, key_positions: Tensor | None = None) -> Tensor:
    """Which of `keys` keys a query at each of the positions [batch, sequence] sees: bool [batch, 1, sequence, keys]."""
    query = positions[:, None, :, None]
    if key_positions is not None:
        key = key_positions[:, None, None, :]
        return _masked(query, key, mask, window) & (key >= 0)
    return _masked(query, torch.arange(keys), mask, window)


def _masked(query: Tensor, key: Tensor, mask: Mask, window: int) -> Tensor:
    match mask:
        case "full":
            return torch.ones_like(query, dtype=torch.bool).expand(-1, -1, -1, key.shape[-1])
        case "causal":
            return key <= query
        case "sliding":
            return (key <= query) & (key > query - window)
        case "chunked":
            return (key <= query) & (key // window == query // window)
        case "prefix":
            return (key <= query) | (key < window)


@attention.reference
def attention_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    positions: Tensor,
    key_length: Tensor | None,
    bias: Tensor | None,
    sinks: Tensor | None,
    key_positions: Tensor | None = None,
    *,
    scale: float,
    mask: Mask,
    window: int,
    softcap: float,
) -> Tensor:
    group = q.shape[1] // k.shape[1]
    scores = (q * scale) @ k.repeat_interleave(group, 1).transpose(2, 3)
    if softcap > 0:
        scores = softcap * torch.tanh(scores / softcap)
    seen = visible(positions, k.shape[2], mask, window, key_positions)
    if key_length is not None:
        seen = seen & (torch.arange(k.shape[2]) < key_length[:, None, None, None])
    if bias is not None and bias.dtype is torch.bool:
        seen = seen & bias
    elif bias is not None:
        scores = scores + bias
    scores = scores.masked_fill(~seen, float("-inf"))
    if sinks is not None:
        column = sinks.reshape(1, -1, 1, 1).expand(*scores.shape[:3], 1).to(scores.dtype)
        scores = torch.cat([scores, column], -1)
    nothing = (scores == float("-inf")).all(-1, keepdim=True)
    weights = scores.softmax(-1).masked_fill(nothing, 0.0)[..., : k.shape[2]]
    values = v.repeat_interleave(group, 1)
    finite = values.isfinite()
    result = weights @ values.masked_fill(~finite, 0.0)
    if finite.all():
        return result
    # An unseen key weighs nothing, whatever garbage a cache holds there; a seen one must not hide it.
    broken = (weights > 0).to(q.dtype) @ (~finite).to(q.dtype) > 0
    return result.masked_fill(broken, float("nan"))


@attention.axes
def attention_axes(op: Op) -> AxisFlow:
    # The key axis is mixed: that is attention's purpose, and the reason for a cache.
    flows: dict[str, tuple[int | None, ...]] = {
        "q": (0, 1, 2, None),
        "k": (0, None, None, None),
        "v": (0, None, None, 3),
        "positions": (0 if op.required("positions").type.shape[0] is not ONE else None, 2),
        "key_length": (0,),
        "sinks": (None,),
    }
    key_positions = op.operand("key_positions")
    if key_positions is not None:
        flows["key_positions"] = (0 if key_positions.type.shape[0] is not ONE else None, None)
    bias = op.operand("bias")
    if bias is not None:
        offset = 4 - bias.type.rank
        flows["bias"] = tuple(
            None if d is ONE or i + offset == 3 else i + offset for i, d in enumerate(bias.type.shape)
        )
    return tuple(flows[o.name] for o, v in zip(op.definition.operands, op.operands, strict=True) if v is not None)


@attention.cost
def attention_cost(op: Op) -> Cost:
    q, k, v = (op.required(n).type for n in ("q", "k", "v"))
    scores = q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2]
    # Who sees all keys need not know where it stands.
    reads = {"positions": ZERO} if op.attributes.get("mask") == "full" else None
    return default_cost(op, scores * (q.shape[3] * 2 + v.shape[3] * 2 + 5), reads=reads)


@op("rope", Trait.CHEAP)
def rope(
    x: TensorType, positions: TensorType, frequencies: TensorType, *, interleaved: bool, scale: float = 1.0
) -> TensorType:
    """Rotary embedding (Su et al. 2021, section 3.2) of x [batch, heads, sequence, size].

    Pair i of the first 2n elements, n = len(frequencies) (f32 [n]), turns by positions[b, s] * frequencies[i] and is
    multiplied by scale; other elements pass. Pair i is (i, i + n), or (2i, 2i + 1) if interleaved. positions are i64
    [batch or 1, sequence].
    """
    require_float("x", x)
    require_rank("x", x, 4)
    _require_positions("positions", positions, x.shape[0], x.shape[2])
    require_rank("frequencies", frequencies, 1)
    if frequencies.dtype is not DType.F32:
        raise IRTypeError(f"frequencies must be f32, they are {frequencies}")
    pairs, size = frequencies.shape[0].constant, x.shape[3].constant
    if pairs is None or size is None or 2 * pairs > size:
        raise IRTypeError(f"{pairs} pairs do not fit in a head of {size}")
    return x


@rope.reference
def rope_reference(x: Tensor, positions: Tensor, frequencies: Tensor, *, interleaved: bool, scale: float) -> Tensor:
    angle = positions[:, None, :, None].to(x.dtype) * frequencies.to(x.dtype)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    return rotated(x, cos, sin, interleaved=interleaved)


def rotated(x: Tensor, cos: Tensor, sin: Tensor, *, interleaved: bool) -> Tensor:
    """x [..., size] with its first pairs of elements turned: cos and sin are [..., pairs], of x's type."""
    pairs = cos.shape[-1]
    turned, rest = x[..., : 2 * pairs], x[..., 2 * pairs :]
    if interleaved:
        a, b = turned[..., 0::2], turned[..., 1::2]
        out = torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)
    else:
        a, b = turned[..., :pairs], turned[..., pairs:]
        out = torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
    return torch.cat([out, rest], -1)


@rope.axes
def rope_axes(op: Op) -> AxisFlow:
    positions = op.required("positions").type
    return ((0, 1, 2, None), (0 if positions.shape[0] is not ONE else None, 2), (None,))


@rope.cost
def rope_cost(op: Op) -> Cost:
    return default_cost(op, op.results[0].type.elements * 6)
