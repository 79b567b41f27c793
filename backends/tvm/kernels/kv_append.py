# pyright: reportInvalidTypeForm=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false, reportUnknownParameterType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""The IR's `kv_append`, contiguous or a ring, and codes of int8 as the IR's `quantize_tensor` gives them."""

from __future__ import annotations

from typing import Any

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.attention_form import NIBBLE_OFFSET, Bits, Share
from graphwright.backends.tvm.kernels.fast_math import ROUNDER, absolute, clamped, number, whole
from graphwright.backends.tvm.kernels.tir import (
    filled,
    folded,
    kept,
    lanes_within,
    local_buffer,
    matched_if,
    span,
    stage_loop,
)
from graphwright.backends.tvm.tvm_library import T
from graphwright.ir.ops.codes import SMALLEST_SCALE

MOST: dict[Bits, float] = {8: 127.0, 4: 7.0}
"""The largest code. The least is one further from zero."""


def write_codes(cpu: Cpu, size: int, share: Share | None, bits: Bits = 8) -> Any:
    """encode(row, scale, b, head, key, cache): the codes of row f32 [size] to their place in the cache."""
    lanes = lanes_within(cpu, size if bits == 8 else size // 2)

    def vector(element: str) -> str:
        return f"{element}x{lanes}" if lanes > 1 else element

    def reciprocal(scale: Any, b: Any, head: Any, key: Any, at: Any) -> Any:
        if share == "channel":
            return filled(1.0, lanes) / scale[head, at]
        return filled(T.float32(1) / (scale[0] if share == "tensor" else scale[b, head, key]), lanes)

    def rounded(x: Any) -> Any:
        return whole(clamped(x, -MOST[bits] - 1, MOST[bits]) + number(ROUNDER, x))

    @T.inline
    def encode(row: Any, scale: Any, b: Any, head: Any, key: Any, cache: Any) -> None:
        for i in range(size // lanes):
            at = T.meta_var(span(i * lanes, lanes))
            cache[b, head, key, at] = T.Cast(vector("int8"), rounded(row[at] * reciprocal(scale, b, head, key, at)))

    def bare(row: Any, scale: Any, b: Any, head: Any, key: Any, start: Any) -> Any:
        """Codes of 4 bits without a sign."""
        at = span(start, lanes)
        code = rounded(row[at] * reciprocal(scale, b, head, key, at))
        return code + number(NIBBLE_OFFSET, code)

    @T.inline
    def encode_pairs(row: Any, scale: Any, b: Any, head: Any, key: Any, cache: Any) -> None:
        for i in range(size // 2 // lanes):
            low = T.meta_var(bare(row, scale, b, head, key, i * lanes))
            high = T.meta_var(bare(row, scale, b, head, key, size // 2 + i * lanes))
            cache[b, head, key, span(i * lanes, lanes)] = T.Cast(vector("uint8"), low + high * number(16, high))

    return encode if bits == 8 else encode_pairs


def token_scale(cpu: Cpu, size: int, bits: Bits = 8) -> Any:
    """fit(row, scale, index): scale[index] so that the largest number of row f32 [size] fits."""
    lanes = lanes_within(cpu, size)

    @T.inline
    def fit(row: Any, scale: Any, index: Any) -> None:
        largest = local_buffer(lanes)
        largest[span(0, lanes)] = filled(0.0, lanes)
        for i in range(size // lanes):
            at = T.meta_var(span(i * lanes, lanes))
            largest[span(0, lanes)] = T.max(absolute(row[at]), largest[span(0, lanes)])
        most = T.meta_var(folded(largest[span(0, lanes)], lanes, T.max))
        scale[index] = T.max(most * T.float32(1 / MOST[bits]), T.float32(SMALLEST_SCALE))

    return fit


def is_kept(token: Any, past: Any, count: Any, capacity: Any, ring: bool) -> Any:
    """Whether a new token of a row has a place: all in a contiguous cache, which ends at its capacity; of a ring's
    `count` tokens the last ones, so that no two of a step have one place."""
    if ring:
        return T.And(token < count, token >= count - capacity)
    return past + token < capacity


def place(token: Any, past: Any, capacity: Any, ring: bool) -> Any:
    """Where in the cache a new token of a row goes."""
    return (past + token) % capacity if ring else past + token


def kv_append(
    cpu: Cpu,
    *,
    settings: Settings,
    tokens: int | None,
    heads: int,
    size: int,
    ring: bool = False,
    element: str = "float32",
) -> Any:
    """(new [B, heads, S, size], past_length i64 [B], new_length i64 [B] if a ring, cache [B, heads, C, size]).

    New and cache are of the element type, floats or codes. tokens is B * S where that is known. A position beyond a
    contiguous cache's capacity is not written.
    """
    lanes = lanes_within(cpu, size)
    loop = stage_loop(settings, tokens, heads * size)

    @T.prim_func(private=True, s_tir=True)
    def kernel(new_handle: T.handle, past_handle: T.handle, count_handle: T.handle, cache_handle: T.handle):
        batch, sequence, capacity = T.int64(), T.int64(), T.int64()
        new = T.match_buffer(new_handle, (batch, heads, sequence, size), element)
        past_length = T.match_buffer(past_handle, (batch,), "int64")
        new_length = T.meta_var(matched_if(ring, count_handle, (batch,), "int64"))
        cache = T.match_buffer(cache_handle, (batch, heads, capacity, size), element)
        with T.sblock("root"):
            for item in loop(batch * heads * sequence):
                b = T.meta_var(item // (heads * sequence))
                h = T.meta_var(item // sequence % heads)
                s = T.meta_var(item % sequence)
                past = T.meta_var(T.Cast("int32", past_length[b]))
                count = T.meta_var(T.Cast("int32", new_length[b]) if ring else None)
                if is_kept(s, past, count, capacity, ring):
                    for i in range(size // lanes):
                        at = T.meta_var(span(i * lanes, lanes))
                        cache[b, h, place(s, past, capacity, ring), at] = new[b, h, s, at]

    return kept(kernel)
