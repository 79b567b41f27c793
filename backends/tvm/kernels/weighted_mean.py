# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""The IR's `weighted_mean`, RWKV's attention: channels side by side, tokens one after another."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.fast_math import exp
from graphwright.backends.tvm.kernels.tir import filled, kept, lanes_within, matched_if, span
from graphwright.backends.tvm.tvm_library import T

MINUS_INFINITY = float("-inf")


def larger(x: Any, y: Any) -> Any:
    return T.Select(x > y, x, y)


def weighted_mean(cpu: Cpu, *, channels: int, state: bool, lengths: bool) -> Any:
    """(key [B, S, channels], value as key, decay [channels], bonus [channels], state [B, 3, channels] if there is one,
    new_length i64 [B] if given, y as key, last [B, 3, channels]), all others float32."""
    lanes = lanes_within(cpu, channels)

    @T.prim_func(private=True, s_tir=True)
    def kernel(
        key_handle: T.handle,
        value_handle: T.handle,
        decay_handle: T.handle,
        bonus_handle: T.handle,
        state_handle: T.handle,
        length_handle: T.handle,
        y_handle: T.handle,
        last_handle: T.handle,
    ):
        batch, sequence = T.int32(), T.int32()
        key = T.match_buffer(key_handle, (batch, sequence, channels), "float32")
        value = T.match_buffer(value_handle, (batch, sequence, channels), "float32")
        decay = T.match_buffer(decay_handle, (channels,), "float32")
        bonus = T.match_buffer(bonus_handle, (channels,), "float32")
        start = T.meta_var(matched_if(state, state_handle, (batch, 3, channels)))
        new_length = T.meta_var(matched_if(lengths, length_handle, (batch,), "int64"))
        y = T.match_buffer(y_handle, (batch, sequence, channels), "float32")
        last = T.match_buffer(last_handle, (batch, 3, channels), "float32")
        with T.sblock("root"):
            for item in T.parallel(batch * (channels // lanes)):
                with T.sblock("channels"):
                    b = T.meta_var(item // (channels // lanes))
                    at = T.meta_var(span(item % (channels // lanes) * lanes, lanes))
                    every = T.meta_var(span(0, lanes))
                    count = T.meta_var(T.Cast("int32", new_length[b]) if lengths else sequence)
                    over = T.sblock_alloc_buffer((lanes,), "float32", scope="local")
                    under = T.sblock_alloc_buffer((lanes,), "float32", scope="local")
                    known = T.sblock_alloc_buffer((lanes,), "float32", scope="local")
                    top = T.sblock_alloc_buffer((lanes,), "float32", scope="local")
                    before = T.sblock_alloc_buffer((lanes,), "float32", scope="local")
                    now = T.sblock_alloc_buffer((lanes,), "float32", scope="local")
                    for part in range(3):
                        last[b, part, at] = start[b, part, at] if state else filled(0.0, lanes)
                    over[every] = last[b, 0, at]
                    under[every] = last[b, 1, at]
                    # A row that has seen a token has a denominator of 1 or more.
                    known[every] = T.Select(
                        under[every] > filled(0.0, lanes), last[b, 2, at], filled(MINUS_INFINITY, lanes)
                    )
                    for s in range(sequence):
                        top[every] = larger(known[every], key[b, s, at] + bonus[at])
                        before[every] = exp(known[every] - top[every])
                        now[every] = exp(key[b, s, at] + bonus[at] - top[every])
                        y[b, s, at] = (before[every] * over[every] + now[every] * value[b, s, at]) / (
                            before[every] * under[every] + now[every]
                        )
                        if s < count:
                            top[every] = larger(known[every] + decay[at], key[b, s, at])
                            before[every] = exp(known[every] + decay[at] - top[every])
                            now[every] = exp(key[b, s, at] - top[every])
                            over[every] = before[every] * over[every] + now[every] * value[b, s, at]
                            under[every] = before[every] * under[every] + now[every]
                            known[every] = top[every]
                            last[b, 0, at] = over[every]
                            last[b, 1, at] = under[every]
                            last[b, 2, at] = known[every]

    return kept(kernel)
