# pyright: basic, reportAttributeAccessIssue=false
# Triton compiles or interprets these functions; their parameters have the types that a launch gives them.
"""What kernels share: programmatic dependent launch, activations, products that the interpreter can do, and what is
behind a product.

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
    # One return: Triton compiles what stands behind a return, though it is never reached.
    if KIND == "silu":
        y = x / (1.0 + tl.exp(-x))
    elif KIND == "gelu":
        y = 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
    elif KIND == "gelu_tanh":
        y = 0.5 * x * (1.0 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))
    elif KIND == "quick_gelu":
        y = x / (1.0 + tl.exp(-1.702 * x))
    elif KIND == "relu":
        y = tl.maximum(x, 0.0)
    elif KIND == "sigmoid":
        y = 1.0 / (1.0 + tl.exp(-x))
    else:
        tl.static_assert(KIND == "tanh")
        y = tanh(x)
    return y


@triton.jit
def product(a, b, acc, EMULATED: tl.constexpr):
    """acc + a @ b in float32. The interpreter is wrong about bfloat16, so that it gets float32."""
    if EMULATED:
        acc += tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision="ieee")
    else:
        acc = tl.dot(a, b, acc, input_precision="ieee")
    return acc


@triton.jit
def behind_product(acc, up, bias, residual, n, places, columns, inside, N, KIND: tl.constexpr):
    """Sums of a product after bias, gated unit and residual. With a KIND `acc` are gates, `up` what they let through.

    n are the columns and places those of y that sums are at, of which `columns` and `inside` are there: of the shape of
    sums, or of one that broadcasts to it. Bias and residual may be None, and so may KIND.
    """
    if bias is not None:
        acc += tl.load(bias + n, mask=columns, other=0.0).to(tl.float32)
        if KIND is not None:
            up += tl.load(bias + N + n, mask=columns, other=0.0).to(tl.float32)
    if KIND is not None:
        acc = activate(acc, KIND) * up
    if residual is not None:
        acc += tl.load(residual + places, mask=inside, other=0.0).to(tl.float32)
    return acc
