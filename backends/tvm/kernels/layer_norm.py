# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""The IR's `layer_norm` of rows, with or without weight and bias."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.local_buffer import local_buffer
from graphwright.backends.tvm.kernels.loops import filled, lanes_within, span, stage_loop, tree_sum
from graphwright.backends.tvm.kernels.optional_operands import kept, matched_if
from graphwright.backends.tvm.tvm_library import T


def layer_row(cpu: Cpu, size: int, epsilon: float) -> Any:
    """normalize(x, row, weight, bias, y): row `row` of x and y [M, size]; weight and bias may be None."""
    lanes = lanes_within(cpu, size)

    def scaled(value: Any, weight: Any, bias: Any, at: Any) -> Any:
        value = value if weight is None else value * weight[at]
        return value if bias is None else value + bias[at]

    @T.inline
    def normalize(x: Any, row: Any, weight: Any, bias: Any, y: Any) -> None:
        sums = local_buffer(lanes)
        mean = local_buffer(1)
        factor = local_buffer(1)
        every = T.meta_var(span(0, lanes))
        sums[every] = filled(0.0, lanes)
        for i in range(size // lanes):
            sums[every] += x[row, span(i * lanes, lanes)]
        mean[0] = tree_sum([sums[i] for i in range(lanes)]) / T.float32(size)
        sums[every] = filled(0.0, lanes)
        for i in range(size // lanes):
            difference = T.meta_var(x[row, span(i * lanes, lanes)] - filled(mean[0], lanes))
            sums[every] += difference * difference
        variance = T.meta_var(tree_sum([sums[i] for i in range(lanes)]) / T.float32(size))
        factor[0] = T.float32(1) / T.sqrt(variance + T.float32(epsilon))
        for i in range(size // lanes):
            at = T.meta_var(span(i * lanes, lanes))
            difference = T.meta_var(x[row, at] - filled(mean[0], lanes))
            y[row, at] = scaled(difference * filled(factor[0], lanes), weight, bias, at)

    return normalize


def layer_norm(
    cpu: Cpu, *, tokens: int | None, size: int, epsilon: float, weight: bool = True, bias: bool = True
) -> Any:
    """(x f32 [M, size], weight f32 [size] if there is one, bias f32 [size] if there is one, y f32 [M, size]).

    y = (x - mean) / sqrt(variance + epsilon) * weight + bias, the variance of the differences from the mean.
    """
    normalize = layer_row(cpu, size, epsilon)
    loop = stage_loop(tokens, size)

    @T.prim_func(private=True, s_tir=True)
    def kernel(x_handle: T.handle, weight_handle: T.handle, bias_handle: T.handle, y_handle: T.handle):
        rows = T.int64()
        x = T.match_buffer(x_handle, (rows, size), "float32")
        scale = T.meta_var(matched_if(weight, weight_handle, (size,)))
        shift = T.meta_var(matched_if(bias, bias_handle, (size,)))
        y = T.match_buffer(y_handle, (rows, size), "float32")
        with T.sblock("root"):
            for row in loop(rows):
                normalize(x, row, scale, shift, y)

    return kept(kernel)
