"""The activation functions, as expressions that kernels are built of."""

from __future__ import annotations

import math
from typing import Any

from graphwright.backends.tvm.kernels.fast_math import erf, exp, let, number, sigmoid, tanh
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
