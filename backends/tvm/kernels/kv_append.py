# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""The IR's `kv_append` on its own: new tokens to their places in a cache, contiguous or a ring."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.loops import lanes_within, span, stage_loop
from graphwright.backends.tvm.kernels.optional_operands import kept, matched_if
from graphwright.backends.tvm.tvm_library import T


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
    cpu: Cpu, *, tokens: int | None, heads: int, size: int, ring: bool = False, element: str = "float32"
) -> Any:
    """(new [B, heads, S, size], past_length i64 [B], new_length i64 [B] if a ring, cache [B, heads, C, size]).

    New and cache are of the element type, floats or codes. tokens is B * S where that is known. A position beyond a
    contiguous cache's capacity is not written.
    """
    lanes = lanes_within(cpu, size)
    loop = stage_loop(tokens, heads * size)

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
