# pyright: basic, reportArgumentType=false
# Triton compiles or interprets these functions; their parameters have the types that a launch gives them.
"""Weights in few bits, read as they are stored and turned to numbers in registers.

Of a matrix [rows, K], `codes` are bytes [rows, K], or [rows, ceil(K / 2)] of two codes each, the first in the lower
half. `scales`, `zero_points` and `minimums` [rows, GROUPS] belong to GROUP codes of a row; where GROUPS is 1 they
belong to all of it. Where a byte has PER = 2 codes it has two zero points as well, each row by itself. ELEMENT is the
type of codes.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def loaded_codes(codes, row, there, k0, K: tl.constexpr, PER: tl.constexpr, BK: tl.constexpr):
    """The bytes that BK codes of rows are in, from code k0 on; 0 behind the end of a row."""
    width: tl.constexpr = (K + PER - 1) // PER
    at = k0 // PER + tl.arange(0, BK // PER)
    places = codes + row[:, None].to(tl.int64) * width + at[None, :]
    return tl.load(places, mask=there[:, None] & (at < width)[None, :], other=0)


@triton.jit
def decoded(bytes, ELEMENT: tl.constexpr, PER: tl.constexpr):
    """The numbers [rows, BK], in float32, that codes in bytes stand for by themselves."""
    codes = bytes
    if PER == 2:
        codes = tl.interleave(bytes & 15, bytes >> 4)
    if ELEMENT == "i4":
        numbers = (codes ^ 8).to(tl.float32) - 8.0
    elif ELEMENT == "f4e2m1":
        # The bits of a float16 of the same digits whose exponent counts from 15 in place of 1.
        bits = codes.to(tl.uint16)
        numbers = (((bits & 7) << 9) | ((bits & 8) << 12)).to(tl.float16, bitcast=True).to(tl.float32) * 16384.0
    elif ELEMENT == "f8e4m3":
        # Likewise, from 15 in place of 7; 127 is no number.
        bits = codes.to(tl.uint16)
        numbers = (((bits & 127) << 7) | ((bits & 128) << 8)).to(tl.float16, bitcast=True).to(tl.float32) * 256.0
        numbers = tl.where((bits & 127) == 127, float("nan"), numbers)
    elif ELEMENT == "f8e5m2":
        numbers = (codes.to(tl.uint16) << 8).to(tl.float16, bitcast=True).to(tl.float32)
    else:
        numbers = codes.to(tl.float32)
    return numbers


@triton.jit
def of_groups(part, row, there, k0, GROUP: tl.constexpr, GROUPS: tl.constexpr, STEP: tl.constexpr):
    """A number [rows, STEP] of each group of rows from code k0 on, of scales or minimums, in float32."""
    group = k0 // GROUP + tl.arange(0, STEP)
    if GROUPS == 1:
        group *= 0
    places = part + row[:, None] * GROUPS + group[None, :]
    return tl.load(places, mask=there[:, None] & (group < GROUPS)[None, :], other=0.0).to(tl.float32)


@triton.jit
def zeros_of_groups(zero_points, row, there, k0, PER: tl.constexpr, GROUP: tl.constexpr, GROUPS: tl.constexpr,
                    STEP: tl.constexpr):  # fmt: skip
    """The zero point [rows, STEP] of each group of rows from code k0 on, in float32."""
    width: tl.constexpr = (GROUPS + PER - 1) // PER
    group = k0 // GROUP + tl.arange(0, STEP)
    if GROUPS == 1:
        group *= 0
    places = zero_points + row[:, None] * width + (group // PER)[None, :]
    zeros = tl.load(places, mask=there[:, None] & (group < GROUPS)[None, :], other=0).to(tl.int32)
    if PER == 2:
        zeros = (zeros >> (group % 2 * 4)[None, :]) & 15
    return zeros.to(tl.float32)


@triton.jit
def numbers_of(bytes, scales, zero_points, minimums, row, there, k0, ELEMENT: tl.constexpr, PER: tl.constexpr,
               GROUP: tl.constexpr, GROUPS: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    """The numbers [rows, BK] of a matrix in float32, from the bytes of their codes."""
    rows: tl.constexpr = bytes.shape[0]
    step: tl.constexpr = BK // GROUP
    numbers = tl.reshape(decoded(bytes, ELEMENT, PER), (rows, step, GROUP))
    if zero_points is not None:
        numbers -= zeros_of_groups(zero_points, row, there, k0, PER, GROUP, GROUPS, step)[:, :, None]
    numbers *= of_groups(scales, row, there, k0, GROUP, GROUPS, step)[:, :, None]
    if minimums is not None:
        numbers += of_groups(minimums, row, there, k0, GROUP, GROUPS, step)[:, :, None]
    return tl.reshape(numbers, (rows, BK))


@triton.jit
def products_of(bytes, x, scales, zero_points, minimums, row, there, k0, ELEMENT: tl.constexpr, PER: tl.constexpr,
                GROUP: tl.constexpr, GROUPS: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    """Of each group the sum of the products of its numbers and those of x [BK], in float32: [rows, BK // GROUP].

    Codes are multiplied as they are; scale, zero point and minimum are applied to sums.
    """
    rows: tl.constexpr = bytes.shape[0]
    step: tl.constexpr = BK // GROUP
    sums = tl.sum(tl.reshape(decoded(bytes, ELEMENT, PER) * x[None, :], (rows, step, GROUP)), 2)
    whole = tl.sum(tl.reshape(x, (step, GROUP)), 1)[None, :]
    if zero_points is not None:
        sums -= zeros_of_groups(zero_points, row, there, k0, PER, GROUP, GROUPS, step) * whole
    sums *= of_groups(scales, row, there, k0, GROUP, GROUPS, step)
    if minimums is not None:
        sums += of_groups(minimums, row, there, k0, GROUP, GROUPS, step) * whole
    return sums
