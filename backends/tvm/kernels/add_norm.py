# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""A residual sum and the norm of it in one pass; the sum is kept for the next residual."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.layer_norm import layer_row
from graphwright.backends.tvm.kernels.loops import lanes_within, span, stage_loop, within
from graphwright.backends.tvm.kernels.optional_operands import kept, matched_if
from graphwright.backends.tvm.kernels.rms_norm import rms_row
from graphwright.backends.tvm.tvm_library import T


def add_row(cpu: Cpu, size: int) -> Any:
    """add(a, b, row, sum): row `row` of sum = a + b, all [M, size]."""
    lanes = lanes_within(cpu, size)

    @T.inline
    def add(a: Any, b: Any, row: Any, sum: Any) -> None:
        for i in range(size // lanes):
            at = T.meta_var(span(i * lanes, lanes))
            sum[row, at] = a[row, at] + b[row, at]

    return add


def add_rms_norm(cpu: Cpu, *, tokens: int | None, size: int, epsilon: float) -> Any:
    """(a f32 [M, size], b f32 [M, size], weight f32 [size], sum f32 [M, size], y f32 [M, size]).

    sum = a + b, y = rms_norm(sum).
    """
    add = add_row(cpu, size)
    normalize = rms_row(cpu, size, epsilon)
    loop = stage_loop(tokens, size)

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
    cpu: Cpu, *, tokens: int | None, size: int, epsilon: float, weight: bool = True, bias: bool = True
) -> Any:
    """(a, b f32 [M, size], weight f32 [size] if there is one, bias f32 [size] if there is one, sum, y f32 [M, size]).

    sum = a + b, y = layer_norm(sum).
    """
    add = add_row(cpu, size)
    normalize = layer_row(cpu, size, epsilon)
    loop = stage_loop(tokens, size)

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
