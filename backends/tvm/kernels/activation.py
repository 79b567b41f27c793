# pyright: reportInvalidTypeForm=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false, reportUnknownParameterType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""The activation functions, and the IR's `activation` and `softcap` of rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.fast_math import erf, exp, let, number, sigmoid, tanh
from graphwright.backends.tvm.kernels.tir import lanes_within, span, stage_loop
from graphwright.backends.tvm.tvm_library import T
from graphwright.ir.ops.neural import Activation


def activate(x: Any, kind: Activation) -> Any:
    """The activation of that name, as the IR's op `activation` has it."""
    match kind:
        case "silu":
            return let(x, lambda x: x / (number(1.0, x) + exp(-x)))
        case "gelu":
            return let(x, lambda x: number(0.5, x) * x * (number(1.0, x) + erf(x * number(0.5**0.5, x))))
        case "gelu_tanh":
            return let(x, _gelu_tanh)
        case "quick_gelu":
            return let(x, lambda x: x * sigmoid(number(1.702, x) * x))
        case "relu":
            # NaN is not below 0, and stays.
            return let(x, lambda x: T.Select(x < number(0.0, x), number(0.0, x), x))
        case "sigmoid":
            return sigmoid(x)
        case "tanh":
            return tanh(x)


def _gelu_tanh(x: Any) -> Any:
    inner = number((2 / math.pi) ** 0.5, x) * (x + number(0.044715, x) * x * x * x)
    return number(0.5, x) * x * (number(1.0, x) + tanh(inner))


def activation(cpu: Cpu, *, settings: Settings, tokens: int | None, size: int, kind: Activation) -> Any:
    """(x f32 [M, size], y f32 [M, size]): y = the activation of x."""
    return elementwise(cpu, lambda x: activate(x, kind), settings=settings, tokens=tokens, size=size)


def softcap(cpu: Cpu, *, settings: Settings, tokens: int | None, size: int, cap: float) -> Any:
    """(x f32 [M, size], y f32 [M, size]): y = cap * tanh(x / cap)."""

    def capped(x: Any) -> Any:
        return number(cap, x) * tanh(x / number(cap, x))

    return elementwise(cpu, capped, settings=settings, tokens=tokens, size=size)


def elementwise(cpu: Cpu, function: Callable[[Any], Any], *, settings: Settings, tokens: int | None, size: int) -> Any:
    """(x f32 [M, size], y f32 [M, size]): y = a function of each number, given as expressions of vectors."""
    lanes = lanes_within(cpu, size)
    chunks, at_once = size // lanes, settings["columns"] // lanes
    blocks = -(-chunks // at_once)
    loop = stage_loop(settings, tokens, size)

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
