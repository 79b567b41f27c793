# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""The IR's `glu`, of two tensors or of two spans of columns of one: a packed projection's output needs no split."""

from __future__ import annotations

from typing import Any

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.activation import activate
from graphwright.backends.tvm.kernels.tir import lanes_within, span, stage_loop
from graphwright.backends.tvm.tvm_library import T
from graphwright.ir.ops.neural import Activation


def glu(cpu: Cpu, *, settings: Settings, tokens: int | None, size: int, kind: Activation) -> Any:
    """(gate f32 [M, size], up f32 [M, size], y f32 [M, size]): y = activation(gate) * up."""
    lanes = lanes_within(cpu, size)
    chunks, at_once = size // lanes, settings["columns"] // lanes
    blocks = -(-chunks // at_once)
    loop = stage_loop(settings, tokens, size)

    @T.prim_func(private=True, s_tir=True)
    def kernel(gate_handle: T.handle, up_handle: T.handle, y_handle: T.handle):
        rows = T.int64()
        gate = T.match_buffer(gate_handle, (rows, size), "float32")
        up = T.match_buffer(up_handle, (rows, size), "float32")
        y = T.match_buffer(y_handle, (rows, size), "float32")
        with T.sblock("root"):
            for item in loop(rows * blocks):
                row = T.meta_var(item // blocks)
                first = T.meta_var(item % blocks * at_once)
                for i in range(T.min(at_once, chunks - first)):
                    at = T.meta_var(span((first + i) * lanes, lanes))
                    y[row, at] = activate(gate[row, at], kind) * up[row, at]

    return kernel


def packed_glu(
    cpu: Cpu,
    *,
    settings: Settings,
    tokens: int | None,
    size: int,
    kind: Activation,
    columns: int,
    gate_column: int = 0,
    up_column: int,
) -> Any:
    """(both f32 [M, columns], y f32 [M, size]): `glu` of the columns from gate_column and from up_column on."""
    lanes = lanes_within(cpu, size)
    chunks, at_once = size // lanes, settings["columns"] // lanes
    blocks = -(-chunks // at_once)
    loop = stage_loop(settings, tokens, size)

    @T.prim_func(private=True, s_tir=True)
    def kernel(both_handle: T.handle, y_handle: T.handle):
        rows = T.int64()
        both = T.match_buffer(both_handle, (rows, columns), "float32")
        y = T.match_buffer(y_handle, (rows, size), "float32")
        with T.sblock("root"):
            for item in loop(rows * blocks):
                row = T.meta_var(item // blocks)
                first = T.meta_var(item % blocks * at_once)
                for i in range(T.min(at_once, chunks - first)):
                    column = T.meta_var((first + i) * lanes)
                    gate = T.meta_var(both[row, span(gate_column + column, lanes)])
                    up = T.meta_var(both[row, span(up_column + column, lanes)])
                    y[row, span(column, lanes)] = activate(gate, kind) * up

    return kernel
