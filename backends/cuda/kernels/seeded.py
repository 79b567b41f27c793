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
def number_at(place, SEED, SPREAD: tl.constexpr, MIDDLE: tl.constexpr):
    """The numbers of places i64, before they are rounded to their type, in float32."""
    seed = SEED + tl.zeros(place.shape, tl.int32)
    bits = hashed(hashed(place.to(tl.uint32)) ^ seed.to(tl.uint32)) >> 8
    unit = bits.to(tl.float32) * 1.1920928955078125e-07 - 1.0
    return unit * SPREAD + MIDDLE


@triton.jit
def fill_seeded(y, COUNT, SEED, SPREAD: tl.constexpr, MIDDLE: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr):
    """`seeded`: COUNT numbers from y on, BLOCK a program."""
    start_next(PDL)
    wait_for_previous(PDL)
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    numbers = number_at(i, SEED, SPREAD, MIDDLE)
    if y.dtype.element_ty == tl.bfloat16:
        # To the nearest, ties to even, as a GPU does: the interpreter cuts off.
        whole = numbers.to(tl.int32, bitcast=True)
        numbers = ((whole + 0x7FFF + ((whole >> 16) & 1)) & -65536).to(tl.float32, bitcast=True)
    tl.store(y + i, numbers.to(y.dtype.element_ty), mask=i < COUNT)


@triton.jit
def code_at(place, SEED, SPREAD: tl.constexpr, MIDDLE: tl.constexpr, FLOAT: tl.constexpr):
    """The codes of places i64, in the lower bits of i32: whole numbers, or if FLOAT the bits of these as f8e4m3."""
    numbers = tl.floor(number_at(place, SEED, SPREAD, MIDDLE))
    if FLOAT:
        # The sign, and exponent and mantissa without the bits that f8e4m3 lacks; exponents count from 7, not from 127.
        bits = numbers.to(tl.int32, bitcast=True)
        codes = ((bits >> 24) & 128) | tl.where(numbers == 0.0, 0, ((bits & 0x7FFFFFFF) >> 20) - (120 << 3))
    else:
        codes = numbers.to(tl.int32)
    return codes


@triton.jit
def fill_codes(y, COUNT, SEED, SPREAD: tl.constexpr, MIDDLE: tl.constexpr, FLOAT: tl.constexpr, PER: tl.constexpr,
               BLOCK: tl.constexpr, PDL: tl.constexpr):  # fmt: skip
    """`seeded` of whole numbers: COUNT bytes from y on, BLOCK a program, of PER codes each, the first in the lower
    half."""
    start_next(PDL)
    wait_for_previous(PDL)
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    codes = code_at(i * PER, SEED, SPREAD, MIDDLE, FLOAT)
    if PER == 2:
        codes = (codes & 15) | ((code_at(i * 2 + 1, SEED, SPREAD, MIDDLE, FLOAT) & 15) << 4)
    tl.store(y + i, (codes & 255).to(tl.uint8), mask=i < COUNT)
