# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""The IR's `rope` on its own, with the cosines and sines of `rotary_table`."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.loops import stage_loop, within
from graphwright.backends.tvm.kernels.rotation import Rotation
from graphwright.backends.tvm.tvm_library import T


def rope(
    cpu: Cpu, *, tokens: int | None, heads: int, size: int, pairs: int, interleaved: bool = False, shared: bool = False
) -> Any:
    """(x f32 [B, heads, S, size], cos f32 [B, S, pairs], sin f32 [B, S, pairs], y f32 [B, heads, S, size]).

    tokens is B * S where that is known. With `shared` positions cos and sin are [1, S, pairs].
    """
    turn = Rotation(cpu, size, pairs, interleaved).statements
    loop = stage_loop(tokens, heads * size)

    @T.prim_func(private=True, s_tir=True)
    def kernel(x_handle: T.handle, cos_handle: T.handle, sin_handle: T.handle, y_handle: T.handle):
        batch, sequence, tables = T.int64(), T.int64(), T.int64()
        x = T.match_buffer(x_handle, (batch, heads, sequence, size), "float32")
        cos = T.match_buffer(cos_handle, (tables, sequence, pairs), "float32")
        sin = T.match_buffer(sin_handle, (tables, sequence, pairs), "float32")
        y = T.match_buffer(y_handle, (batch, heads, sequence, size), "float32")
        with T.sblock("root"):
            for item in loop(batch * heads * sequence):
                b = T.meta_var(item // (heads * sequence))
                h = T.meta_var(item // sequence % heads)
                s = T.meta_var(item % sequence)
                turn(x, within(b, h, s), y, within(b, h, s), cos, sin, 0 if shared else b, s)

    return kernel
