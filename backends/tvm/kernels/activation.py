# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""The IR's `activation` and `softcap`, elementwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.activations import activate
from graphwright.backends.tvm.kernels.fast_math import number, tanh
from graphwright.backends.tvm.kernels.loops import COLUMNS, lanes_within, span, stage_loop
from graphwright.backends.tvm.tvm_library import T
from graphwright.ir.ops.neural import Activation


def activation(cpu: Cpu, *, tokens: int | None, size: int, kind: Activation) -> Any:
    """(x f32 [M, size], y f32 [M, size]): y = the activation of x."""
    return elementwise(cpu, lambda x: activate(x, kind), tokens=tokens, size=size)


def softcap(cpu: Cpu, *, tokens: int | None, size: int, cap: float) -> Any:
    """(x f32 [M, size], y f32 [M, size]): y = cap * tanh(x / cap)."""
    return elementwise(cpu, lambda x: number(cap, x) * tanh(x / number(cap, x)), tokens=tokens, size=size)


def elementwise(cpu: Cpu, function: Callable[[Any], Any], *, tokens: int | None, size: int) -> Any:
    """(x f32 [M, size], y f32 [M, size]): y = a function of each number, given as expressions of vectors."""
    lanes = lanes_within(cpu, size)
    chunks, at_once = size // lanes, COLUMNS // lanes
    blocks = -(-chunks // at_once)
    loop = stage_loop(tokens, size)

    @T.prim_func(private=True, s_tir=True)
    def kernel(x_handle: T.handle, y_handle: T.handle):
        rows = T.int64()
        x = T.match_buffer(x_handle, (rows, size), "float32")
        y = T.match_buffer(y_handle, (rows, size), "float32")
        with T.sblock("root"):
            for item in loop(rows * blocks):
                row = T.meta_var(item // blocks)
                first = T.meta_var(item % blocks * at_once)
                for i in range(T.min(at_once, chunks - first)):
                    at = T.meta_var(span((first + i) * lanes, lanes))
                    y[row, at] = function(x[row, at])

    return kernel
