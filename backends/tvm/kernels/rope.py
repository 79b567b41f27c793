# pyright: reportInvalidTypeForm=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false, reportUnknownParameterType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""The IR's `rope` by tables: of one head of one token, for every kernel that turns, and of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.tir import lanes_within, span, stage_loop, within
from graphwright.backends.tvm.tvm_library import T


@dataclass(frozen=True)
class Rotation:
    """Of a head the first 2 * `pairs` elements turn: (i, i + pairs), or (2i, 2i + 1) if interleaved; others pass."""

    cpu: Cpu
    size: int
    pairs: int
    interleaved: bool = False

    @property
    def statements(self) -> Any:
        """turn(x, x_index, y, y_index, cos, sin, row, column): an index takes a place in the head.

        cos and sin are [rows, columns, pairs], and not read if there are no pairs.
        """
        pairs, interleaved, turned = self.pairs, self.interleaved, 2 * self.pairs
        lanes = lanes_within(self.cpu, pairs)
        rest = lanes_within(self.cpu, self.size - turned)

        def places(i: Any) -> tuple[Any, Any]:
            if interleaved:
                return tuple(T.ramp(i * lanes * 2 + j, 2, lanes) if lanes > 1 else i * 2 + j for j in (0, 1))
            return span(i * lanes, lanes), span(pairs + i * lanes, lanes)

        @T.inline
        def turn(x: Any, x_index: Any, y: Any, y_index: Any, cos: Any, sin: Any, row: Any, column: Any) -> None:
            if pairs > 0:
                for i in range(pairs // lanes):
                    at = T.meta_var(span(i * lanes, lanes))
                    a = T.meta_var(x[x_index(places(i)[0])])
                    b = T.meta_var(x[x_index(places(i)[1])])
                    c = T.meta_var(cos[row, column, at])
                    s = T.meta_var(sin[row, column, at])
                    y[y_index(places(i)[0])] = a * c - b * s
                    y[y_index(places(i)[1])] = b * c + a * s
            for i in range((self.size - turned) // rest):
                at = T.meta_var(span(turned + i * rest, rest))
                y[y_index(at)] = x[x_index(at)]

        return turn


def rope(
    cpu: Cpu,
    *,
    settings: Settings,
    tokens: int | None,
    heads: int,
    size: int,
    pairs: int,
    interleaved: bool = False,
    shared: bool = False,
) -> Any:
    """(x f32 [B, heads, S, size], cos f32 [B, S, pairs], sin f32 [B, S, pairs], y f32 [B, heads, S, size]).

    tokens is B * S where that is known. With `shared` positions cos and sin are [1, S, pairs].
    """
    turn = Rotation(cpu, size, pairs, interleaved).statements
    loop = stage_loop(settings, tokens, heads * size)

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
