# pyright: basic
# Triton compiles or interprets these functions; their parameters have the types that a launch gives them.
"""Numbers of a counter, as weights that are not stored."""

from __future__ import annotations

import triton
import triton.language as tl

from graphwright.backends.cuda.kernels.common import start_next, wait_for_previous


@triton.jit
def hashed(x):
    """`lowbias32` of unsigned integers of 32 bits; see the op `seeded`."""
    x = (x ^ (x >> 16)) * 0x7FEB352D
    x = (x ^ (x >> 15)) * 0x846CA68B
    return x ^ (x >> 16)


@triton.jit
def fill_seeded(y, COUNT, SEED, SPREAD: tl.constexpr, MIDDLE: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr):
    """`seeded`: COUNT numbers from y on, BLOCK a program."""
    start_next(PDL)
    wait_for_previous(PDL)
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    seed = SEED + tl.zeros((BLOCK,), tl.int32)
    bits = hashed(hashed(i.to(tl.uint32)) ^ seed.to(tl.uint32)) >> 8
    unit = bits.to(tl.float32) * 1.1920928955078125e-07 - 1.0
    numbers = unit * SPREAD + MIDDLE
    if y.dtype.element_ty == tl.bfloat16:
        # To the nearest, ties to even, as a GPU does: the interpreter cuts off.
        whole = numbers.to(tl.int32, bitcast=True)
        numbers = ((whole + 0x7FFF + ((whole >> 16) & 1)) & -65536).to(tl.float32, bitcast=True)
    tl.store(y + i, numbers.to(y.dtype.element_ty), mask=i < COUNT)
