"""What kernels share: programmatic dependent launch, activations, products that the interpreter can do.

A kernel that runs behind another one of its step may be started early: it tells the next one that it may start too,
loads what no step writes, and then waits until everything before it is in memory. `PDL` is set on architectures that
have this (sm_90 on), and not where kernels are interpreted: the instructions do not exist there.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def start_next(PDL: tl.constexpr):
    if PDL:
        tl.extra.cuda.gdc_launch_dependents()


@triton.jit
def wait_for_previous(PDL: tl.constexpr):
    if PDL:
        tl.extra.cuda.gdc_wait()


@triton.jit
def tanh(x):
    """By one exponential that cannot overflow."""
    e = tl.exp(-2.0 * tl.abs(x))
    t = (1.0 - e) / (1.0 + e)
    return tl.where(x < 0, -t, t)


@triton.jit
def activate(x, KIND: tl.constexpr):
    """The activation of that name in `graphwright.ir.ops.neural`, of float32."""
    if KIND == "silu":
        return x / (1.0 + tl.exp(-x))
    if KIND == "gelu":
        return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
    if KIND == "gelu_tanh":
        return 0.5 * x * (1.0 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))
    if KIND == "quick_gelu":
        return x / (1.0 + tl.exp(-1.702 * x))
    if KIND == "relu":
        return tl.maximum(x, 0.0)
    if KIND == "sigmoid":
        return 1.0 / (1.0 + tl.exp(-x))
    tl.static_assert(KIND == "tanh")
    return tanh(x)


@triton.jit
def product(a, b, acc, EMULATED: tl.constexpr):
    """acc + a @ b in float32. The interpreter is wrong about bfloat16, so that it gets float32."""
    if EMULATED:
        return acc + tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision="ieee")
    return tl.dot(a, b, acc, input_precision="ieee")
