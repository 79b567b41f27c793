# pyright: basic
# Triton compiles or interprets these functions; their parameters have the types that a launch gives them.
"""Rows: norms, rows of tables, chosen tokens, and the small integers that say where tokens stand."""

from __future__ import annotations

import triton
import triton.language as tl

from graphwright.backends.cuda.kernels.common import start_next, wait_for_previous


@triton.jit
def rms_norm(x, gain, y, K: tl.constexpr, EPSILON: tl.constexpr, PADDED: tl.constexpr, PDL: tl.constexpr):
    """`rms_norm`, a row of K numbers a program. PADDED: the next power of two."""
    start_next(PDL)
    k = tl.arange(0, PADDED)
    gains = tl.load(gain + k, mask=k < K, other=0.0).to(tl.float32)
    wait_for_previous(PDL)
    row = tl.program_id(0).to(tl.int64) * K
    xs = tl.load(x + row + k, mask=k < K, other=0.0).to(tl.float32)
    factor = 1.0 / tl.sqrt(tl.sum(xs * xs, 0) / K + EPSILON)
    tl.store(y + row + k, (xs * factor * gains).to(y.dtype.element_ty), mask=k < K)


@triton.jit
def layer_norm(x, gain, bias, y, K: tl.constexpr, EPSILON: tl.constexpr, PADDED: tl.constexpr, PDL: tl.constexpr):
    """`layer_norm`, a row of K numbers a program; gain and bias may be None. PADDED: the next power of two."""
    start_next(PDL)
    k = tl.arange(0, PADDED)
    if gain is not None:
        gains = tl.load(gain + k, mask=k < K, other=0.0).to(tl.float32)
    if bias is not None:
        shifts = tl.load(bias + k, mask=k < K, other=0.0).to(tl.float32)
    wait_for_previous(PDL)
    row = tl.program_id(0).to(tl.int64) * K
    xs = tl.load(x + row + k, mask=k < K, other=0.0).to(tl.float32)
    away = tl.where(k < K, xs - tl.sum(xs, 0) / K, 0.0)
    result = away * (1.0 / tl.sqrt(tl.sum(away * away, 0) / K + EPSILON))
    if gain is not None:
        result *= gains
    if bias is not None:
        result += shifts
    tl.store(y + row + k, result.to(y.dtype.element_ty), mask=k < K)


@triton.jit
def softmax(x, y, K: tl.constexpr, PADDED: tl.constexpr, PDL: tl.constexpr):
    """`softmax` along the last axis, a row of K numbers a program. PADDED: the next power of two."""
    start_next(PDL)
    wait_for_previous(PDL)
    k = tl.arange(0, PADDED)
    row = tl.program_id(0).to(tl.int64) * K
    xs = tl.load(x + row + k, mask=k < K, other=float("-inf")).to(tl.float32)
    # Compared first, so that a number that is none stays one, and a row of -inf gives none, as in the reference.
    powers = tl.exp(xs - tl.max(xs, 0))
    tl.store(y + row + k, (powers / tl.sum(powers, 0)).to(y.dtype.element_ty), mask=k < K)


@triton.jit
def round_groups(
    x, y, K: tl.constexpr, GROUP: tl.constexpr, GROUPS: tl.constexpr, PADDED: tl.constexpr, PDL: tl.constexpr
):
    """`fake_quantize` to i8, a row of K numbers a program, each GROUP of them by a scale of their own.

    GROUPS and PADDED: the next powers of two of their number and of GROUP.
    """
    start_next(PDL)
    wait_for_previous(PDL)
    at = tl.arange(0, GROUPS)[:, None] * GROUP + tl.arange(0, PADDED)[None, :]
    there = (tl.arange(0, PADDED) < GROUP)[None, :] & (at < K)
    row = tl.program_id(0).to(tl.int64) * K
    xs = tl.load(x + row + at, mask=there, other=0.0).to(tl.float32)
    largest = tl.max(tl.abs(xs), 1)
    scale = tl.minimum(tl.div_rn(largest, tl.full((GROUPS,), 127.0, tl.float32)), 3.4028234663852886e38)
    scale = tl.where(scale == 0, 1.0, scale)[:, None]
    units = tl.div_rn(xs, scale + tl.zeros((GROUPS, PADDED), tl.float32))
    # Nothing behind the point is left of a sum as large as this one: the nearest integer, ties to even.
    codes = tl.minimum(tl.maximum(units, -128.0), 127.0) + 12582912.0 - 12582912.0
    # Not a number stays none: a product over the row then has none either.
    rounded = tl.where(xs == xs, codes * scale, xs)
    tl.store(y + row + at, rounded.to(y.dtype.element_ty), mask=there)


@triton.jit
def table_rows(table, rows, y, COUNT, K: tl.constexpr, PADDED: tl.constexpr, PDL: tl.constexpr):
    """`embedding`: y [programs, K] of the rows of table [COUNT, K] that `rows` names; one that is not there is NaN."""
    start_next(PDL)
    wait_for_previous(PDL)
    k = tl.arange(0, PADDED)
    place = tl.program_id(0).to(tl.int64)
    row = tl.load(rows + place)
    there = (row >= 0) & (row < COUNT)
    numbers = tl.load(table + tl.where(there, row, 0) * K + k, mask=k < K, other=0.0)
    tl.store(y + place * K + k, tl.where(there, numbers, float("nan")).to(y.dtype.element_ty), mask=k < K)


@triton.jit
def token_rows(x, places, y, N, S, K: tl.constexpr, PADDED: tl.constexpr, PDL: tl.constexpr):
    """`take_tokens`: y [batch, N, K] of x [batch, S, K] at places [batch, N], a token a program."""
    start_next(PDL)
    wait_for_previous(PDL)
    k = tl.arange(0, PADDED)
    place = tl.program_id(0).to(tl.int64)
    token = tl.load(places + place)
    there = (token >= 0) & (token < S)
    source = (place // N * S + tl.where(there, token, 0)) * K
    numbers = tl.load(x + source + k, mask=k < K, other=0.0)
    tl.store(y + place * K + k, tl.where(there, numbers, float("nan")).to(y.dtype.element_ty), mask=k < K)


@triton.jit
def copy_numbers(x, y, COUNT, BLOCK: tl.constexpr, PDL: tl.constexpr):
    """`cast`: COUNT numbers of x as numbers of y's type, BLOCK a program."""
    start_next(PDL)
    wait_for_previous(PDL)
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i, mask=i < COUNT, other=0).to(y.dtype.element_ty), mask=i < COUNT)


@triton.jit
def add_rows(
    x,
    y,
    z,
    COLUMNS,
    X_ROWS: tl.constexpr,
    X_COLUMNS: tl.constexpr,
    Y_ROWS: tl.constexpr,
    Y_COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,
    PDL: tl.constexpr,
):
    """`add` of x and y, each with all rows or one and all columns or one, to z [rows, COLUMNS]; BLOCK of a row a
    program."""
    start_next(PDL)
    wait_for_previous(PDL)
    blocks = tl.cdiv(COLUMNS, BLOCK)
    row = tl.program_id(0) // blocks
    c = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    x_row = row * (COLUMNS if X_COLUMNS else 1) if X_ROWS else 0
    y_row = row * (COLUMNS if Y_COLUMNS else 1) if Y_ROWS else 0
    first = tl.load(x + x_row + (c if X_COLUMNS else c * 0), mask=c < COLUMNS, other=0)
    second = tl.load(y + y_row + (c if Y_COLUMNS else c * 0), mask=c < COLUMNS, other=0)
    tl.store(z + row * COLUMNS + c, first + second, mask=c < COLUMNS)


@triton.jit
def count_up(y, COUNT, BLOCK: tl.constexpr, PDL: tl.constexpr):
    """`iota`: the numbers from 0 on, BLOCK a program."""
    start_next(PDL)
    wait_for_previous(PDL)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, i.to(y.dtype.element_ty), mask=i < COUNT)
