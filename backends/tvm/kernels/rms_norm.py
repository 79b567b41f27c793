# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""The IR's `rms_norm` of rows."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.local_buffer import local_buffer
from graphwright.backends.tvm.kernels.loops import filled, lanes_within, span, stage_loop, tree_sum, within
from graphwright.backends.tvm.tvm_library import T


def rms_row(cpu: Cpu, size: int, epsilon: float) -> Any:
    """normalize(x, x_at, weight, y, y_at): one row; x_at and y_at give the index of a vector of its elements."""
    lanes = lanes_within(cpu, size)

    @T.inline
    def normalize(x: Any, x_at: Any, weight: Any, y: Any, y_at: Any) -> None:
        sums = local_buffer(lanes)
        factor = local_buffer(1)
        sums[span(0, lanes)] = filled(0.0, lanes)
        for i in range(size // lanes):
            element = T.meta_var(x[x_at(span(i * lanes, lanes))])
            sums[span(0, lanes)] += element * element
        mean = T.meta_var(tree_sum([sums[i] for i in range(lanes)]) / T.float32(size))
        factor[0] = T.float32(1) / T.sqrt(mean + T.float32(epsilon))
        for i in range(size // lanes):
            at = T.meta_var(span(i * lanes, lanes))
            y[y_at(at)] = x[x_at(at)] * filled(factor[0], lanes) * weight[at]

    return normalize


def rms_norm(cpu: Cpu, *, tokens: int | None, size: int, epsilon: float) -> Any:
    """(x f32 [M, size], weight f32 [size], y f32 [M, size]): y = x / sqrt(mean(x²) + epsilon) * weight."""
    normalize = rms_row(cpu, size, epsilon)
    loop = stage_loop(tokens, size)

    @T.prim_func(private=True, s_tir=True)
    def kernel(x_handle: T.handle, weight: T.Buffer((size,), "float32"), y_handle: T.handle):
        rows = T.int64()
        x = T.match_buffer(x_handle, (rows, size), "float32")
        y = T.match_buffer(y_handle, (rows, size), "float32")
        with T.sblock("root"):
            for row in loop(rows):
                normalize(x, within(row), weight, y, within(row))

    return kernel
