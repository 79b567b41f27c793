# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""The IR's `linear_recurrence`: each thread takes some values of some heads through all tokens."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.fast_math import exp
from graphwright.backends.tvm.kernels.tir import filled, kept, lanes_within, matched_if, span
from graphwright.backends.tvm.tvm_library import T


def linear_recurrence(
    cpu: Cpu,
    *,
    heads: int,
    groups: int,
    keys: int,
    values: int,
    decays: int,
    rates: int,
    beta: bool,
    state: bool,
    lengths: bool,
) -> Any:
    """(q, k [B, groups, S, keys], v [B, heads, S, values], decay [B, heads, S, decays], rates [heads, rates],
    beta [B, heads, S], state [B, heads, keys, values], new_length i64 [B], y as v, last as state), float32.

    decays and rates are keys, 1, or 0 where there are none; decay, rates, beta, state and lengths are there if said.
    """
    lanes = lanes_within(cpu, values)
    blocks, share = values // lanes, heads // groups

    @T.prim_func(private=True, s_tir=True)
    def kernel(
        q_handle: T.handle,
        k_handle: T.handle,
        v_handle: T.handle,
        decay_handle: T.handle,
        rates_handle: T.handle,
        beta_handle: T.handle,
        state_handle: T.handle,
        length_handle: T.handle,
        y_handle: T.handle,
        last_handle: T.handle,
    ):
        batch, sequence = T.int32(), T.int32()
        q = T.match_buffer(q_handle, (batch, groups, sequence, keys), "float32")
        k = T.match_buffer(k_handle, (batch, groups, sequence, keys), "float32")
        v = T.match_buffer(v_handle, (batch, heads, sequence, values), "float32")
        decay = T.meta_var(matched_if(decays > 0, decay_handle, (batch, heads, sequence, decays)))
        rate = T.meta_var(matched_if(rates > 0, rates_handle, (heads, rates)))
        strength = T.meta_var(matched_if(beta, beta_handle, (batch, heads, sequence)))
        start = T.meta_var(matched_if(state, state_handle, (batch, heads, keys, values)))
        new_length = T.meta_var(matched_if(lengths, length_handle, (batch,), "int64"))
        y = T.match_buffer(y_handle, (batch, heads, sequence, values), "float32")
        last = T.match_buffer(last_handle, (batch, heads, keys, values), "float32")
        with T.sblock("root"):
            for item in T.parallel(batch * (heads * blocks)):
                with T.sblock("values"):
                    b = T.meta_var(item // (heads * blocks))
                    h = T.meta_var(item // blocks % heads)
                    g = T.meta_var(item // blocks % heads // share)
                    at = T.meta_var(span(item % blocks * lanes, lanes))
                    every = T.meta_var(span(0, lanes))
                    count = T.meta_var(T.Cast("int32", new_length[b]) if lengths else sequence)
                    matrix = T.sblock_alloc_buffer((keys, lanes), "float32", scope="local")
                    taken = T.sblock_alloc_buffer((lanes,), "float32", scope="local")
                    read = T.sblock_alloc_buffer((lanes,), "float32", scope="local")
                    factor = T.sblock_alloc_buffer((max(decays, rates, 1),), "float32", scope="local")
                    for i in range(keys):
                        matrix[i, every] = start[b, h, i, at] if state else filled(0.0, lanes)
                    # What the result holds for padding is arbitrary, but not what it held before.
                    for s in range(T.min(count, sequence), sequence):
                        y[b, h, s, at] = filled(0.0, lanes)
                    for s in range(T.min(count, sequence)):
                        taken[every] = v[b, h, s, at]
                        if decays > 0:
                            for i in range(max(decays, rates)):
                                log = T.meta_var(decay[b, h, s, i if decays > 1 else 0])
                                times = T.meta_var(rate[h, i if rates > 1 else 0] if rates > 0 else T.float32(1))
                                factor[i] = exp(log * times)
                            for i in range(keys):
                                each = T.meta_var(factor[i if max(decays, rates) > 1 else 0])
                                matrix[i, every] = matrix[i, every] * filled(each, lanes)
                        if beta:
                            read[every] = filled(0.0, lanes)
                            for i in range(keys):
                                read[every] += filled(k[b, g, s, i], lanes) * matrix[i, every]
                            taken[every] = filled(strength[b, h, s], lanes) * (taken[every] - read[every])
                        read[every] = filled(0.0, lanes)
                        for i in range(keys):
                            matrix[i, every] += filled(k[b, g, s, i], lanes) * taken[every]
                            read[every] += filled(q[b, g, s, i], lanes) * matrix[i, every]
                        y[b, h, s, at] = read[every]
                    for i in range(keys):
                        last[b, h, i, at] = matrix[i, every]

    return kept(kernel)
