# pyright: reportInvalidTypeForm=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false, reportUnknownParameterType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""The IR's `rms_norm` and `layer_norm` of rows, by themselves and together with a residual sum."""

from __future__ import annotations

from typing import Any

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.tir import (
    filled,
    kept,
    lanes_within,
    local_buffer,
    matched_if,
    span,
    stage_loop,
    tree_sum,
    within,
)
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


def rms_norm(cpu: Cpu, *, settings: Settings, tokens: int | None, size: int, epsilon: float) -> Any:
    """(x f32 [M, size], weight f32 [size], y f32 [M, size]): y = x / sqrt(mean(x²) + epsilon) * weight."""
    normalize = rms_row(cpu, size, epsilon)
    loop = stage_loop(settings, tokens, size)

    @T.prim_func(private=True, s_tir=True)
    def kernel(x_handle: T.handle, weight: T.Buffer((size,), "float32"), y_handle: T.handle):
        rows = T.int64()
        x = T.match_buffer(x_handle, (rows, size), "float32")
        y = T.match_buffer(y_handle, (rows, size), "float32")
        with T.sblock("root"):
            for row in loop(rows):
                normalize(x, within(row), weight, y, within(row))

    return kernel


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
    cpu: Cpu,
    *,
    settings: Settings,
    tokens: int | None,
    size: int,
    epsilon: float,
    weight: bool = True,
    bias: bool = True,
) -> Any:
    """(x f32 [M, size], weight f32 [size] if there is one, bias f32 [size] if there is one, y f32 [M, size]).

    y = (x - mean) / sqrt(variance + epsilon) * weight + bias, the variance of the differences from the mean.
    """
    normalize = layer_row(cpu, size, epsilon)
    loop = stage_loop(settings, tokens, size)

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


def add_row(cpu: Cpu, size: int) -> Any:
    """add(a, b, row, sum): row `row` of sum = a + b, all [M, size]."""
    lanes = lanes_within(cpu, size)

    @T.inline
    def add(a: Any, b: Any, row: Any, sum: Any) -> None:
        for i in range(size // lanes):
            at = T.meta_var(span(i * lanes, lanes))
            sum[row, at] = a[row, at] + b[row, at]

    return add


def add_rms_norm(cpu: Cpu, *, settings: Settings, tokens: int | None, size: int, epsilon: float) -> Any:
    """(a f32 [M, size], b f32 [M, size], weight f32 [size], sum f32 [M, size], y f32 [M, size]).

    sum = a + b, y = rms_norm(sum).
    """
    add = add_row(cpu, size)
    normalize = rms_row(cpu, size, epsilon)
    loop = stage_loop(settings, tokens, size)

    @T.prim_func(private=True, s_tir=True)
    def kernel(
        a_handle: T.handle,
        b_handle: T.handle,
        weight: T.Buffer((size,), "float32"),
        sum_handle: T.handle,
        y_handle: T.handle,
    ):
        rows = T.int64()
        a = T.match_buffer(a_handle, (rows, size), "float32")
        b = T.match_buffer(b_handle, (rows, size), "float32")
        sum = T.match_buffer(sum_handle, (rows, size), "float32")
        y = T.match_buffer(y_handle, (rows, size), "float32")
        with T.sblock("root"):
            for row in loop(rows):
                add(a, b, row, sum)
                normalize(sum, within(row), weight, y, within(row))

    return kernel


def add_layer_norm(
    cpu: Cpu,
    *,
    settings: Settings,
    tokens: int | None,
    size: int,
    epsilon: float,
    weight: bool = True,
    bias: bool = True,
) -> Any:
    """(a, b f32 [M, size], weight f32 [size] if there is one, bias f32 [size] if there is one, sum, y f32 [M, size]).

    sum = a + b, y = layer_norm(sum).
    """
    add = add_row(cpu, size)
    normalize = layer_row(cpu, size, epsilon)
    loop = stage_loop(settings, tokens, size)

    @T.prim_func(private=True, s_tir=True)
    def kernel(
        a_handle: T.handle,
        b_handle: T.handle,
        weight_handle: T.handle,
        bias_handle: T.handle,
        sum_handle: T.handle,
        y_handle: T.handle,
    ):
        rows = T.int64()
        a = T.match_buffer(a_handle, (rows, size), "float32")
        b = T.match_buffer(b_handle, (rows, size), "float32")
        scale = T.meta_var(matched_if(weight, weight_handle, (size,)))
        shift = T.meta_var(matched_if(bias, bias_handle, (size,)))
        sum = T.match_buffer(sum_handle, (rows, size), "float32")
        y = T.match_buffer(y_handle, (rows, size), "float32")
        with T.sblock("root"):
            for row in loop(rows):
                add(a, b, row, sum)
                normalize(sum, row, scale, shift, y)

    return kept(kernel)
