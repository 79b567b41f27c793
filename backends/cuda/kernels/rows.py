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
