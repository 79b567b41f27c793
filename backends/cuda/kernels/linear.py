# pyright: basic, reportArgumentType=false
# Triton compiles or interprets these functions; their parameters have the types that a launch gives them.
"""Products with a matrix of weights: of a few rows, bound by reading the weights, and of many rows, by tiles."""

from __future__ import annotations

import triton
import triton.language as tl

from graphwright.backends.cuda.kernels.common import behind_product, product, start_next, wait_for_previous


@triton.jit
def few_rows(
    x,
    w,
    bias,
    gain,
    residual,
    y,
    N: tl.constexpr,
    M: tl.constexpr,
    K: tl.constexpr,
    EPSILON: tl.constexpr,
    KIND: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    PDL: tl.constexpr,
    EMULATED: tl.constexpr,
):
    """`cuda.linear` of M rows, M at most 16: y [M, N] of x [M, K] and w [N, K], or [2N, K] with a KIND of gate.

    Programs: ceil(N / BN). Bias, gain and residual may be None. Sums are in float32; the norm's factor is applied to
    the sum, where x is in float32 as well, else to x, which must not overflow its own type.
    """
    start_next(PDL)
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    columns = n < N
    k = tl.arange(0, BK)
    rows = w + n[:, None].to(tl.int64) * K
    up_rows = rows + N * K
    # Weights of the first step: nobody writes them, so they are on their way before the wait.
    tile = tl.load(rows + k[None, :], mask=columns[:, None] & (k < K)[None, :], other=0.0)
    if KIND is not None:
        up_tile = tl.load(up_rows + k[None, :], mask=columns[:, None] & (k < K)[None, :], other=0.0)
    wait_for_previous(PDL)
    if M == 1:
        acc = tl.zeros((BN,), tl.float32)
        up = tl.zeros((BN,), tl.float32)
        squares = tl.zeros((BK,), tl.float32)
        for k0 in range(0, K, BK):
            at = k0 + k
            xs = tl.load(x + at, mask=at < K, other=0.0).to(tl.float32)
            if gain is not None:
                squares += xs * xs
                xs *= tl.load(gain + at, mask=at < K, other=0.0).to(tl.float32)
            acc += tl.sum(tile.to(tl.float32) * xs[None, :], 1)
            if KIND is not None:
                up += tl.sum(up_tile.to(tl.float32) * xs[None, :], 1)
            after = at + BK
            tile = tl.load(rows + after[None, :], mask=columns[:, None] & (after < K)[None, :], other=0.0)
            if KIND is not None:
                up_tile = tl.load(up_rows + after[None, :], mask=columns[:, None] & (after < K)[None, :], other=0.0)
        if gain is not None:
            factor = 1.0 / tl.sqrt(tl.sum(squares, 0) / K + EPSILON)
            acc *= factor
            up *= factor
        acc = behind_product(acc, up, bias, residual, n, n, columns, columns, N, KIND)
        tl.store(y + n, acc.to(y.dtype.element_ty), mask=columns)
    else:
        m = tl.arange(0, 16)
        x_rows = x + m[:, None] * K
        factor = tl.full((16,), 1.0, tl.float32)
        if gain is not None:
            squares = tl.zeros((16,), tl.float32)
            for k0 in range(0, K, BK):
                at = k0 + k
                xs = tl.load(x_rows + at[None, :], mask=(m < M)[:, None] & (at < K)[None, :], other=0.0).to(tl.float32)
                squares += tl.sum(xs * xs, 1)
            factor = 1.0 / tl.sqrt(squares / K + EPSILON)
        acc = tl.zeros((16, BN), tl.float32)
        up = tl.zeros((16, BN), tl.float32)
        for k0 in range(0, K, BK):
            at = k0 + k
            xs = tl.load(x_rows + at[None, :], mask=(m < M)[:, None] & (at < K)[None, :], other=0.0)
            if gain is not None:
                gains = tl.load(gain + at, mask=at < K, other=0.0).to(tl.float32)
                xs = (xs.to(tl.float32) * factor[:, None] * gains[None, :]).to(x.dtype.element_ty)
            acc = product(xs, tl.trans(tile), acc, EMULATED)
            if KIND is not None:
                up = product(xs, tl.trans(up_tile), up, EMULATED)
            after = at + BK
            tile = tl.load(rows + after[None, :], mask=columns[:, None] & (after < K)[None, :], other=0.0)
            if KIND is not None:
                up_tile = tl.load(up_rows + after[None, :], mask=columns[:, None] & (after < K)[None, :], other=0.0)
        places = m[:, None] * N + n[None, :]
        inside = (m < M)[:, None] & columns[None, :]
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
