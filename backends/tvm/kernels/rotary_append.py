# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""A packed projection's output to turned queries and to keys and values in their caches, in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.attention_form import CODES, Bits, Numbers, Share
from graphwright.backends.tvm.kernels.kv_append import is_kept, place, token_scale, write_codes
from graphwright.backends.tvm.kernels.rope import Rotation
from graphwright.backends.tvm.kernels.tir import kept, lanes_within, local_buffer, matched_if, span, stage_loop, within
from graphwright.backends.tvm.tvm_library import T


@dataclass(frozen=True)
class Packed:
    """Where queries, keys and values of all heads begin in a row of `columns` columns."""

    columns: int
    query_column: int
    key_column: int
    value_column: int


def as_numbers(type: Numbers, x: Any) -> Any:
    """Float32 rounded to the nearest numbers of a type."""
    lanes = x.ty.dtype.lanes
    return x if type == "float32" else T.Cast(f"{type}x{lanes}" if lanes > 1 else type, x)


def rotary_append(
    cpu: Cpu,
    *,
    settings: Settings,
    tokens: int | None,
    packed: Packed,
    heads: int,
    kv_heads: int,
    head_size: int,
    value_size: int,
    pairs: int,
    interleaved: bool = False,
    shared: bool = False,
    ring: bool = False,
    key_scale: Share | None = None,
    value_scale: Share | None = None,
    key_bits: Bits = 8,
    value_bits: Bits = 8,
    key_numbers: Numbers = "float32",
    value_numbers: Numbers = "float32",
) -> Any:
    """`rope` of queries and keys, and `kv_append` of keys and values, as the IR has them.

    Parameters, those in brackets if there are such: x f32 [B, S, columns], cos f32 [B, S, pairs] ([1, S, pairs] if
    `shared`), sin likewise, past_length i64 [B], [new_length i64 [B] if a ring], [key_scale], [value_scale],
    k [B, kv heads, C, head size], v [B, kv heads, C, value size], q f32 [B, heads, S, head size].
    k and v are of `key_numbers` and `value_numbers`, or with scales of codes of so many bits as `AttentionForm` has
    them. A scale is f32 [1] for a tensor, [kv heads, size] for channels, or [B, kv heads, C] for tokens: then it is
    written too, as the pass `quantize-cache` has it. Without a rotary embedding pairs is 0. tokens is B * S where that
    is known.
    """
    turn = Rotation(cpu, head_size, pairs, interleaved).statements
    loop = stage_loop(settings, tokens, packed.columns)
    encode_key = write_codes(cpu, head_size, key_scale, key_bits)
    encode_value = write_codes(cpu, value_size, value_scale, value_bits)
    key_token_scale = token_scale(cpu, head_size, key_bits)
    value_token_scale = token_scale(cpu, value_size, value_bits)
    key_type = key_numbers if key_scale is None else CODES[key_bits]
    value_type = value_numbers if value_scale is None else CODES[value_bits]
    key_width = head_size // 2 if key_type == "uint8" else head_size
    value_width = value_size // 2 if value_type == "uint8" else value_size
    key_lanes, value_lanes = (lanes_within(cpu, size) for size in (head_size, value_size))

    def scale_shape(share: Share | None, size: int, cache: tuple[Any, ...]) -> Any:
        return {"tensor": (1,), "channel": (kv_heads, size), "token": cache, None: ()}[share]

    @T.inline
    def append_key(
        x: Any, b: Any, s: Any, h: Any, row: Any, cos: Any, sin: Any, scale: Any, k: Any, where: Any, scratch: Any
    ) -> None:
        column = T.meta_var(packed.key_column + h * head_size)
        if key_scale is None and key_numbers == "float32":
            turn(x, within(b, s, offset=column), k, within(b, h, where), cos, sin, row, s)
        else:
            turn(x, within(b, s, offset=column), scratch, within(), cos, sin, row, s)
            if key_scale == "token":
                key_token_scale(scratch, scale, (b, h, where))
            if key_scale is None:
                for i in range(head_size // key_lanes):
                    at = T.meta_var(span(i * key_lanes, key_lanes))
                    k[b, h, where, at] = as_numbers(key_numbers, scratch[at])
            else:
                encode_key(scratch, scale, b, h, where, k)

    @T.inline
    def append_value(x: Any, b: Any, s: Any, h: Any, scale: Any, v: Any, where: Any, scratch: Any) -> None:
        for i in range(value_size // value_lanes):
            source = T.meta_var(x[b, s, span(packed.value_column + h * value_size + i * value_lanes, value_lanes)])
            if value_scale is None:
                v[b, h, where, span(i * value_lanes, value_lanes)] = as_numbers(value_numbers, source)
            else:
                scratch[span(i * value_lanes, value_lanes)] = source
        if value_scale == "token":
            value_token_scale(scratch, scale, (b, h, where))
        if value_scale is not None:
            encode_value(scratch, scale, b, h, where, v)

    @T.prim_func(private=True, s_tir=True)
    def kernel(
        x_handle: T.handle,
        cos_handle: T.handle,
        sin_handle: T.handle,
        past_handle: T.handle,
        count_handle: T.handle,
        key_scale_handle: T.handle,
        value_scale_handle: T.handle,
        k_handle: T.handle,
        v_handle: T.handle,
        q_handle: T.handle,
    ):
        batch, sequence, tables, capacity = T.int64(), T.int64(), T.int64(), T.int64()
        x = T.match_buffer(x_handle, (batch, sequence, packed.columns), "float32")
        cos = T.meta_var(matched_if(pairs > 0, cos_handle, (tables, sequence, pairs)))
        sin = T.meta_var(matched_if(pairs > 0, sin_handle, (tables, sequence, pairs)))
        past_length = T.match_buffer(past_handle, (batch,), "int64")
        new_length = T.meta_var(matched_if(ring, count_handle, (batch,), "int64"))
        cache = T.meta_var((batch, kv_heads, capacity))
        of_keys = T.meta_var(
            matched_if(key_scale is not None, key_scale_handle, scale_shape(key_scale, head_size, cache))
        )
        of_values = T.meta_var(
            matched_if(value_scale is not None, value_scale_handle, scale_shape(value_scale, value_size, cache))
        )
        k = T.match_buffer(k_handle, (*cache, key_width), key_type)
        v = T.match_buffer(v_handle, (*cache, value_width), value_type)
        q = T.match_buffer(q_handle, (batch, heads, sequence, head_size), "float32")
        with T.sblock("root"):
            for token in loop(batch * sequence):
                scratch = local_buffer(max(head_size, value_size))
                b = T.meta_var(token // sequence)
                s = T.meta_var(token % sequence)
                row = T.meta_var(0 if shared else b)
                for h in range(heads):
                    column = T.meta_var(packed.query_column + h * head_size)
                    turn(x, within(b, s, offset=column), q, within(b, h, s), cos, sin, row, s)
                past = T.meta_var(T.Cast("int32", past_length[b]))
                count = T.meta_var(T.Cast("int32", new_length[b]) if ring else None)
                where = T.meta_var(place(s, past, capacity, ring))
                if is_kept(s, past, count, capacity, ring):
                    for h in range(kv_heads):
                        append_key(x, b, s, h, row, cos, sin, of_keys, k, where, scratch)
                        append_value(x, b, s, h, of_values, v, where, scratch)

    return kept(kernel)
