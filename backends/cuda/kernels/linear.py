# pyright: basic, reportArgumentType=false
# Triton compiles or interprets these functions; their parameters have the types that a launch gives them.
"""Products with a matrix of weights: of a few rows, bound by reading the weights, and of many rows, by tiles."""

from __future__ import annotations

import triton
import triton.language as tl

from graphwright.backends.cuda.kernels.common import behind_product, product, start_next, wait_for_previous
from graphwright.backends.cuda.kernels.splitting import added_up, is_last, only_if, put_sums


@triton.jit
def one_row(
    x,
    w,
    bias,
    gain,
    residual,
    partial,
    arrived,
    y,
    N: tl.constexpr,
    K: tl.constexpr,
    EPSILON: tl.constexpr,
    KIND: tl.constexpr,
    SPLITS: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    PDL: tl.constexpr,
):
    """`cuda.linear` of one row: y [N] of x [K] and w [N, K], or [2N, K] with a KIND of gate.

    Programs: ceil(N / BN) * SPLITS. What may be absent is None: bias, gain, residual; and with one split, which a
    KIND must have, `partial`, f32 [SPLITS, N + ceil(N / BN)], and `arrived`, a zero for each tile of columns. Sums
    are in float32, and the norm's factor is applied to them.
    """
    start_next(PDL)
    tile, split = tl.program_id(0) // SPLITS, tl.program_id(0) % SPLITS
    length: tl.constexpr = tl.cdiv(tl.cdiv(K, BK), SPLITS) * BK
    begin = split * length
    end = tl.minimum(begin + length, K)
    n = tile * BN + tl.arange(0, BN)
    columns = n < N
    k = tl.arange(0, BK)
    rows = w + n[:, None].to(tl.int64) * K
    up_rows = rows + N * K
    # Weights of the first step: nobody writes them, so they are on their way before the wait.
    at = begin + k
    ws = tl.load(rows + at[None, :], mask=columns[:, None] & (at < K)[None, :], other=0.0)
    if KIND is not None:
        up_ws = tl.load(up_rows + at[None, :], mask=columns[:, None] & (at < K)[None, :], other=0.0)
    wait_for_previous(PDL)
    acc = tl.zeros((BN,), tl.float32)
    up = tl.zeros((BN,), tl.float32)
    squares = tl.zeros((BK,), tl.float32)
    for k0 in range(begin, end, BK):
        at = k0 + k
        xs = tl.load(x + at, mask=at < K, other=0.0).to(tl.float32)
        if gain is not None:
            squares += xs * xs
            xs *= tl.load(gain + at, mask=at < K, other=0.0).to(tl.float32)
        acc += tl.sum(ws.to(tl.float32) * xs[None, :], 1)
        if KIND is not None:
            up += tl.sum(up_ws.to(tl.float32) * xs[None, :], 1)
        after = at + BK
        ahead = only_if(columns, end > k0 + BK)[:, None] & (after < K)[None, :]
        ws = tl.load(rows + after[None, :], mask=ahead, other=0.0)
        if KIND is not None:
            up_ws = tl.load(up_rows + after[None, :], mask=ahead, other=0.0)
    square = tl.sum(squares, 0)
    if SPLITS > 1:
        tl.static_assert(KIND is None)
        tiles: tl.constexpr = tl.cdiv(N, BN)
        put_sums(acc, partial, split, N + tiles, n, columns)
        if gain is not None:
            put_sums(square, partial, split, N + tiles, N + tile, True)
        last = is_last(arrived, tile, SPLITS)
        columns = only_if(columns, last)
        acc = added_up(tl.zeros((BN,), tl.float32), partial, N + tiles, n, columns, SPLITS)
        if gain is not None:
            square = added_up(0.0, partial, N + tiles, N + tile, last, SPLITS)
    if gain is not None:
        factor = 1.0 / tl.sqrt(square / K + EPSILON)
        acc *= factor
        up *= factor
    acc = behind_product(acc, up, bias, residual, n, n, columns, columns, N, KIND)
    tl.store(y + n, acc.to(y.dtype.element_ty), mask=columns)


@triton.jit
def few_rows(
    x,
    w,
    bias,
    gain,
    residual,
    partial,
    arrived,
    y,
    M,
    N: tl.constexpr,
    K: tl.constexpr,
    EPSILON: tl.constexpr,
    KIND: tl.constexpr,
    SPLITS: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    PDL: tl.constexpr,
    EMULATED: tl.constexpr,
):
    """`cuda.linear` of M rows, M at most 16: y [M, N] of x [M, K] and w [N, K], or [2N, K] with a KIND of gate.

    As `one_row`, with sums by tiles: `partial` is f32 [SPLITS, M, N]. What is behind a norm is rounded to the type of
    x, which must not overflow.
    """
    start_next(PDL)
    tile, split = tl.program_id(0) // SPLITS, tl.program_id(0) % SPLITS
    length: tl.constexpr = tl.cdiv(tl.cdiv(K, BK), SPLITS) * BK
    begin = split * length
    end = tl.minimum(begin + length, K)
    n = tile * BN + tl.arange(0, BN)
    columns = n < N
    k = tl.arange(0, BK)
    rows = w + n[:, None].to(tl.int64) * K
    up_rows = rows + N * K
    at = begin + k
    ws = tl.load(rows + at[None, :], mask=columns[:, None] & (at < K)[None, :], other=0.0)
    if KIND is not None:
        up_ws = tl.load(up_rows + at[None, :], mask=columns[:, None] & (at < K)[None, :], other=0.0)
    wait_for_previous(PDL)
    m = tl.arange(0, 16)
    there = m < M
    x_rows = x + m[:, None] * K
    factor = tl.full((16,), 1.0, tl.float32)
    if gain is not None:
        squares = tl.zeros((16,), tl.float32)
        for k0 in range(0, K, BK):
            at = k0 + k
            xs = tl.load(x_rows + at[None, :], mask=there[:, None] & (at < K)[None, :], other=0.0).to(tl.float32)
            squares += tl.sum(xs * xs, 1)
        factor = 1.0 / tl.sqrt(squares / K + EPSILON)
    acc = tl.zeros((16, BN), tl.float32)
    up = tl.zeros((16, BN), tl.float32)
    for k0 in range(begin, end, BK):
        at = k0 + k
        xs = tl.load(x_rows + at[None, :], mask=there[:, None] & (at < K)[None, :], other=0.0)
        if gain is not None:
            gains = tl.load(gain + at, mask=at < K, other=0.0).to(tl.float32)
            xs = (xs.to(tl.float32) * factor[:, None] * gains[None, :]).to(x.dtype.element_ty)
        acc = product(xs, tl.trans(ws), acc, EMULATED)
        if KIND is not None:
            up = product(xs, tl.trans(up_ws), up, EMULATED)
        after = at + BK
        ahead = only_if(columns, end > k0 + BK)[:, None] & (after < K)[None, :]
        ws = tl.load(rows + after[None, :], mask=ahead, other=0.0)
        if KIND is not None:
            up_ws = tl.load(up_rows + after[None, :], mask=ahead, other=0.0)
    places = m[:, None] * N + n[None, :]
    inside = there[:, None] & columns[None, :]
    if SPLITS > 1:
        tl.static_assert(KIND is None)
        put_sums(acc, partial, split, M * N, places, inside)
        inside = only_if(inside, is_last(arrived, tile, SPLITS))
        acc = added_up(tl.zeros((16, BN), tl.float32), partial, M * N, places, inside, SPLITS)
    acc = behind_product(acc, up, bias, residual, n[None, :], places, columns[None, :], inside, N, KIND)
    tl.store(y + places, acc.to(y.dtype.element_ty), mask=inside)


@triton.jit
def many_rows(
    x,
    w,
    bias,
    residual,
    y,
    M,
    N: tl.constexpr,
    K: tl.constexpr,
    KIND: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    STRIPE: tl.constexpr,
    PDL: tl.constexpr,
    EMULATED: tl.constexpr,
):
    """`cuda.linear` without a norm, of any number of rows: y [M, N] of x [M, K] and w [N, K], or [2N, K] with a gate.

    Programs: ceil(M / BM) * ceil(N / BN). They go down stripes of STRIPE tiles of rows, so that those that run at one
    time share rows of x and of w in the cache.
    """
    start_next(PDL)
    down, across = tl.cdiv(M, BM), tl.cdiv(N, BN)
    place = tl.program_id(0)
    stripe = place // (STRIPE * across)
    height = tl.minimum(down - stripe * STRIPE, STRIPE)
    within = place % (STRIPE * across)
    m = (stripe * STRIPE + within % height) * BM + tl.arange(0, BM)
    n = (within // height) * BN + tl.arange(0, BN)
    k = tl.arange(0, BK)
    x_rows = x + m[:, None].to(tl.int64) * K
    rows = w + n[:, None].to(tl.int64) * K
    up_rows = rows + N * K
    wait_for_previous(PDL)
    acc = tl.zeros((BM, BN), tl.float32)
    up = tl.zeros((BM, BN), tl.float32)
    for k0 in range(0, K, BK):
        at = k0 + k
        xs = tl.load(x_rows + at[None, :], mask=(m < M)[:, None] & (at < K)[None, :], other=0.0)
        tile = tl.load(rows + at[None, :], mask=(n < N)[:, None] & (at < K)[None, :], other=0.0)
        acc = product(xs, tl.trans(tile), acc, EMULATED)
        if KIND is not None:
            up_tile = tl.load(up_rows + at[None, :], mask=(n < N)[:, None] & (at < K)[None, :], other=0.0)
            up = product(xs, tl.trans(up_tile), up, EMULATED)
    places = m[:, None].to(tl.int64) * N + n[None, :]
    inside = (m < M)[:, None] & (n < N)[None, :]
    acc = behind_product(acc, up, bias, residual, n[None, :], places, (n < N)[None, :], inside, N, KIND)
    tl.store(y + places, acc.to(y.dtype.element_ty), mask=inside)
