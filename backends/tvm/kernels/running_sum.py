# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""Sums along an axis as they grow, with what the IR's `running_sum` keeps of them."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.tir import kept, matched_if
from graphwright.backends.tvm.tvm_library import T


def running_sum(cpu: Cpu, *, element: str, state: bool, lengths: bool) -> Any:
    """(x [B, M, S, N], state [B, M, N] if there is one, new_length i64 [B] if given, y [B, M, S, N], total [B, M, N]).

    All but the lengths are of the element type; floats are added up as float64. y is the sum up to each place of the
    third axis, the state included; total is that of the first new_length[b] places.
    """
    wide = "float64" if element.startswith("float") else element

    @T.prim_func(private=True, s_tir=True)
    def kernel(
        x_handle: T.handle, state_handle: T.handle, length_handle: T.handle, y_handle: T.handle, total_handle: T.handle
    ):
        batch, middle, size, inner = T.int32(), T.int32(), T.int32(), T.int32()
        x = T.match_buffer(x_handle, (batch, middle, size, inner), element)
        start = T.meta_var(matched_if(state, state_handle, (batch, middle, inner), element))
        new_length = T.meta_var(matched_if(lengths, length_handle, (batch,), "int64"))
        y = T.match_buffer(y_handle, (batch, middle, size, inner), element)
        total = T.match_buffer(total_handle, (batch, middle, inner), element)
        with T.sblock("root"):
            for item in T.parallel(batch * middle * inner):
                with T.sblock("row"):
                    b = T.meta_var(item // (middle * inner))
                    m = T.meta_var(item // inner % middle)
                    n = T.meta_var(item % inner)
                    sum = T.sblock_alloc_buffer((1,), wide, scope="local")
                    count = T.meta_var(T.Cast("int32", new_length[b]) if lengths else size)
                    sum[0] = T.Cast(wide, start[b, m, n] if state else 0)
                    total[b, m, n] = T.Cast(element, sum[0])
                    for s in range(size):
                        sum[0] = sum[0] + T.Cast(wide, x[b, m, s, n])
                        y[b, m, s, n] = T.Cast(element, sum[0])
                        if s < count:
                            total[b, m, n] = T.Cast(element, sum[0])

    return kept(kernel)
