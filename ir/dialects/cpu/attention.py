"""Attention as the CPU's kernel does it: heads side by side in the result, keys and values as numbers or as codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.cost import Cost
from graphwright.ir.declare import op
from graphwright.ir.dialects.cpu.packed_caches import dequantize_packed
from graphwright.ir.dialects.packed_codes import unpacked
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.attention import Mask, attention
from graphwright.ir.ops.codes import dequantize_tensor
from graphwright.ir.ops.rules import ONE
from graphwright.ir.types import DType, StateType, TensorType

if TYPE_CHECKING:
    from torch import Tensor


@op("cpu.attention")
def fused_attention(
    q: TensorType,
    k: TensorType | StateType,
    v: TensorType | StateType,
    positions: TensorType,
    key_length: TensorType | None = None,
    bias: TensorType | None = None,
    sinks: TensorType | None = None,
    key_positions: TensorType | None = None,
    key_scale: TensorType | StateType | None = None,
    value_scale: TensorType | StateType | None = None,
    *,
    scale: float,
    mask: Mask,
    window: int = 0,
    softcap: float = 0.0,
    merged: bool = True,
    ring: int = 0,
) -> TensorType:
    """`attention`, and, if `merged`, `merge_heads` of it: [batch, sequence, heads * size of v].

    k and v that have a scale are codes of i8, or of i4 as `cpu.quantize_packed` has them (u8, two in a byte), plain or
    in a cache, of which attention sees codes * scale. A scale is f32: [] for all of them, [1, kv heads, 1, size] for
    channels, or, plain or in a cache, [batch, kv heads, keys, 1] for tokens. Without one they are of q's type, or f16
    beside a q of f32.

    The first `ring` of the keys are a ring: position p lies at p % ring, and those of the queries follow behind. Sums
    go by position then, as over a cache that has all: they are the same however many tokens a step has.
    """
    numbers = [
        _wide(type, q.dtype) if of is None else _numbers(name, type, of, q.dtype)
        for name, type, of in (("k", k, key_scale), ("v", v, value_scale))
    ]
    operands = (q, *numbers, positions, key_length, bias, sinks, key_positions)
    result = attention.rule(*operands, scale=scale, mask=mask, window=window, softcap=softcap)
    assert isinstance(result, TensorType)
    if not merged:
        return result
    batch, heads, sequence, size = result.shape
    return result.with_shape(batch, sequence, heads * size)


def unreadable_codes(codes: TensorType, scale: TensorType) -> str | None:
    """Why keys or values of such codes and scales cannot be read as they are; None if they can."""
    if codes.rank != 4 or codes.dtype not in (DType.I8, DType.U8):
        return f"codes are {codes}, its kernel reads four axes of i8, or of two codes in a byte"
    batch, heads, keys, size = unpacked(codes).shape
    if scale.dtype is not DType.F32 or scale.shape not in ((), (ONE, heads, ONE, size), (batch, heads, keys, ONE)):
        return f"scales are {scale}: not one for all, for each channel or for each token of each head"
    return None


def _wide(type: TensorType | StateType, dtype: DType) -> TensorType | StateType:
    """The type of halves once they are read as float32."""
    held = type.tensor if isinstance(type, StateType) else type
    return held.with_dtype(dtype) if (held.dtype, dtype) == (DType.F16, DType.F32) else type


def _numbers(name: str, codes: TensorType | StateType, scale: TensorType | StateType, dtype: DType) -> TensorType:
    """The type of what codes stand for. Raises `IRTypeError` where they cannot be read."""
    held, of = (t.tensor if isinstance(t, StateType) else t for t in (codes, scale))
    problem = unreadable_codes(held, of)
    if problem is not None:
        raise IRTypeError(f"{name}: {problem}")
    return unpacked(held).with_dtype(dtype)


def numbers_of(x: Tensor, scale: Tensor | None, like: Tensor) -> Tensor:
    """Keys or values as numbers of the type of `like`, of which there are codes if there is a scale."""
    if scale is None:
        return x.to(like.dtype)
    read = dequantize_packed if x.dtype == torch.uint8 else dequantize_tensor
    return read.evaluate([x, scale], {"dtype": DType.F32}).to(like.dtype)


@fused_attention.reference
def fused_attention_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    positions: Tensor,
    key_length: Tensor | None,
    bias: Tensor | None,
    sinks: Tensor | None,
    key_positions: Tensor | None,
    key_scale: Tensor | None,
    value_scale: Tensor | None,
    *,
    scale: float,
    mask: Mask,
    window: int,
    softcap: float,
    merged: bool,
    ring: int,
) -> Tensor:
    numbers = numbers_of(k, key_scale, q), numbers_of(v, value_scale, q)
    operands = [q, *numbers, positions, key_length, bias, sinks, key_positions]
    result = attention.evaluate(operands, {"scale": scale, "mask": mask, "window": window, "softcap": softcap})
    return result.transpose(1, 2).flatten(2) if merged else result


@fused_attention.cost
def fused_attention_cost(op: Op) -> Cost:
    return attention.price(op)
