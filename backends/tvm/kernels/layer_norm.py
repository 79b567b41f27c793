# pyright: reportInvalidTypeForm=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""The IR's `layer_norm` of rows, with or without weight and bias."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.loops import filled, lanes_within, span, stage_loop, tree_sum
from graphwright.backends.tvm.tvm_library import T


def layer_norm(
    cpu: Cpu, *, tokens: int | None, size: int, epsilon: float, weight: bool = True, bias: bool = True
) -> Any:
    """(x f32 [M, size], weight f32 [size] if there is one, bias f32 [size] if there is one, y f32 [M, size]).

    y = (x - mean) / sqrt(variance + epsilon) * weight + bias, the variance of the differences from the mean.
    """
    lanes = lanes_within(cpu, size)
    chunks = size // lanes
    loop = stage_loop(tokens, size)

    @T.inline
    def normalize(x, row, y, scaled):
        sums = T.sblock_alloc_buffer((lanes,), "float32", scope="local")
        mean = T.sblock_alloc_buffer((1,), "float32", scope="local")
        factor = T.sblock_alloc_buffer((1,), "float32", scope="local")
        every = T.meta_var(span(0, lanes))
        sums[every] = filled(0.0, lanes)
        for i in range(chunks):
            sums[every] += x[row, span(i * lanes, lanes)]
        mean[0] = tree_sum([sums[i] for i in range(lanes)]) / T.float32(size)
        sums[every] = filled(0.0, lanes)
        for i in range(chunks):
            difference = T.meta_var(x[row, span(i * lanes, lanes)] - filled(mean[0], lanes))
            sums[every] += difference * difference
        variance = T.meta_var(tree_sum([sums[i] for i in range(lanes)]) / T.float32(size))
        factor[0] = T.float32(1) / T.sqrt(variance + T.float32(epsilon))
        for i in range(chunks):
            at = T.meta_var(span(i * lanes, lanes))
            y[row, at] = scaled((x[row, at] - filled(mean[0], lanes)) * filled(factor[0], lanes), at)

    @T.prim_func(private=True, s_tir=True)
    def plain(x_handle: T.handle, y_handle: T.handle):
        rows = T.int32()
        x = T.match_buffer(x_handle, (rows, size), "float32")
        y = T.match_buffer(y_handle, (rows, size), "float32")
        with T.sblock("root"):
            for row in loop(rows):
                with T.sblock("row"):
                    normalize(x, row, y, lambda value, at: value)

    @T.prim_func(private=True, s_tir=True)
    def with_one(x_handle: T.handle, other: T.Buffer((size,), "float32"), y_handle: T.handle):
        rows = T.int32()
        x = T.match_buffer(x_handle, (rows, size), "float32")
        y = T.match_buffer(y_handle, (rows, size), "float32")
        with T.sblock("root"):
            for row in loop(rows):
                with T.sblock("row"):
                    normalize(x, row, y, lambda value, at: value * other[at] if weight else value + other[at])

    @T.prim_func(private=True, s_tir=True)
    def with_both(
        x_handle: T.handle, scale: T.Buffer((size,), "float32"), shift: T.Buffer((size,), "float32"), y_handle: T.handle
    ):
        rows = T.int32()
        x = T.match_buffer(x_handle, (rows, size), "float32")
        y = T.match_buffer(y_handle, (rows, size), "float32")
        with T.sblock("root"):
            for row in loop(rows):
                with T.sblock("row"):
                    normalize(x, row, y, lambda value, at: value * scale[at] + shift[at])

    if weight and bias:
        return with_both
    return with_one if weight or bias else plain
