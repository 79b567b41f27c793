# pyright: basic
# Triton compiles or interprets these functions; their parameters have the types that a launch gives them.
"""Products with a matrix of codes: of one row by sums, of a few and of many rows by tiles of numbers in registers."""

from __future__ import annotations

import triton
import triton.language as tl

from graphwright.backends.cuda.kernels.codes import loaded_codes, numbers_of, products_of
from graphwright.backends.cuda.kernels.common import behind_product, product, start_next, wait_for_previous
from graphwright.backends.cuda.kernels.splitting import added_up, is_last, only_if, put_sums


@triton.jit
def one_row_of_codes(
    x,
    codes,
    scales,
    zero_points,
    minimums,
    bias,
    gain,
    residual,
    partial,
    arrived,
    y,
    N,
    K: tl.constexpr,
    EPSILON: tl.constexpr,
    KIND: tl.constexpr,
    ELEMENT: tl.constexpr,
    PER: tl.constexpr,
    GROUP: tl.constexpr,
    GROUPS: tl.constexpr,
    SPLITS: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    PDL: tl.constexpr,
):
    """`cuda.linear` of one row: y [N] of x [K] and a matrix of codes [N, K], or [2N, K] with a KIND of gate.

    Programs: ceil(N / BN) * SPLITS. What may be absent is None; `partial` and `arrived` are as in `one_row`. Sums are
    in float32.
    """
    start_next(PDL)
    tile, split = tl.program_id(0) // SPLITS, tl.program_id(0) % SPLITS
    length: tl.constexpr = tl.cdiv(tl.cdiv(K, BK), SPLITS) * BK
    begin = split * length
    end = tl.minimum(begin + length, K)
    n = tile * BN + tl.arange(0, BN)
    there = n < N
    k = tl.arange(0, BK)
    # Codes of the first step: nobody writes them, so they are on their way before the wait.
    ws = loaded_codes(codes, n, there, begin, K, PER, BK)
    if KIND is not None:
        up_ws = loaded_codes(codes, N + n, there, begin, K, PER, BK)
    wait_for_previous(PDL)
    sums = tl.zeros((BN, BK // GROUP), tl.float32)
    up_sums = tl.zeros((BN, BK // GROUP), tl.float32)
    squares = tl.zeros((BK,), tl.float32)
    for k0 in range(begin, end, BK):
        at = k0 + k
        xs = tl.load(x + at, mask=at < K, other=0.0).to(tl.float32)
        if gain is not None:
            squares += xs * xs
            xs *= tl.load(gain + at, mask=at < K, other=0.0).to(tl.float32)
        ahead = only_if(there, end > k0 + BK)
        after = loaded_codes(codes, n, ahead, k0 + BK, K, PER, BK)
        sums += products_of(ws, xs, scales, zero_points, minimums, n, there, k0, ELEMENT, PER, GROUP, GROUPS, BK)
        ws = after
        if KIND is not None:
            up_after = loaded_codes(codes, N + n, ahead, k0 + BK, K, PER, BK)
            up_sums += products_of(
                up_ws, xs, scales, zero_points, minimums, N + n, there, k0, ELEMENT, PER, GROUP, GROUPS, BK
            )
            up_ws = up_after
    acc = tl.sum(sums, 1)
    up = tl.sum(up_sums, 1)
    square = tl.sum(squares, 0)
    if SPLITS > 1:
        tl.static_assert(KIND is None)
        size = N + tl.cdiv(N, BN)
        put_sums(acc, partial, split, size, n, there)
        if gain is not None:
            put_sums(square, partial, split, size, N + tile, True)
        last = is_last(arrived, tile, SPLITS)
        there = only_if(there, last)
        acc = added_up(tl.zeros((BN,), tl.float32), partial, size, n, there, SPLITS)
        if gain is not None:
            square = added_up(0.0, partial, size, N + tile, last, SPLITS)
    if gain is not None:
        factor = 1.0 / tl.sqrt(square / K + EPSILON)
        acc *= factor
        up *= factor
    acc = behind_product(acc, up, bias, residual, n, n, there, there, N, KIND)
    tl.store(y + n, acc.to(y.dtype.element_ty), mask=there)


@triton.jit
def rows_of_codes(
    x,
    codes,
    scales,
    zero_points,
    minimums,
    bias,
    gain,
    residual,
    partial,
    arrived,
    y,
    M,
    N,
    K: tl.constexpr,
    EPSILON: tl.constexpr,
    KIND: tl.constexpr,
    ELEMENT: tl.constexpr,
    PER: tl.constexpr,
    GROUP: tl.constexpr,
    GROUPS: tl.constexpr,
    SPLITS: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    STRIPE: tl.constexpr,
    PDL: tl.constexpr,
    EMULATED: tl.constexpr,
):
    """`cuda.linear` of any number of rows: y [M, N] of x [M, K] and codes [N, K], or [2N, K] with a KIND of gate.

    Programs: ceil(M / BM) * ceil(N / BN) * SPLITS, in stripes of STRIPE tiles of rows as `many_rows` has them; with
    more splits than one M is at most BM, and `partial` and `arrived` are as in `few_rows`. Numbers of the matrix, and
    x behind a norm, are rounded to the type of x, sums are in float32.
    """
    start_next(PDL)
    down, across = tl.cdiv(M, BM), tl.cdiv(N, BN)
    place, split = tl.program_id(0) // SPLITS, tl.program_id(0) % SPLITS
    length: tl.constexpr = tl.cdiv(tl.cdiv(K, BK), SPLITS) * BK
    begin = split * length
    end = tl.minimum(begin + length, K)
    stripe = place // (STRIPE * across)
    height = tl.minimum(down - stripe * STRIPE, STRIPE)
    within = place % (STRIPE * across)
    m = (stripe * STRIPE + within % height) * BM + tl.arange(0, BM)
    n = (within // height) * BN + tl.arange(0, BN)
    there = n < N
    k = tl.arange(0, BK)
    x_rows = x + m[:, None].to(tl.int64) * K
    wait_for_previous(PDL)
    factor = tl.full((BM,), 1.0, tl.float32)
    if gain is not None:
        squares = tl.zeros((BM,), tl.float32)
        for k0 in range(0, K, BK):
            at = k0 + k
            xs = tl.load(x_rows + at[None, :], mask=(m < M)[:, None] & (at < K)[None, :], other=0.0).to(tl.float32)
            squares += tl.sum(xs * xs, 1)
        factor = 1.0 / tl.sqrt(squares / K + EPSILON)
    acc = tl.zeros((BM, BN), tl.float32)
    up = tl.zeros((BM, BN), tl.float32)
    for k0 in range(begin, end, BK):
        at = k0 + k
        xs = tl.load(x_rows + at[None, :], mask=(m < M)[:, None] & (at < K)[None, :], other=0.0)
        if gain is not None:
            gains = tl.load(gain + at, mask=at < K, other=0.0).to(tl.float32)
            xs = (xs.to(tl.float32) * factor[:, None] * gains[None, :]).to(x.dtype.element_ty)
        tile = loaded_codes(codes, n, there, k0, K, PER, BK)
        w = numbers_of(tile, scales, zero_points, minimums, n, there, k0, ELEMENT, PER, GROUP, GROUPS, BK)
        acc = product(xs, tl.trans(w.to(x.dtype.element_ty)), acc, EMULATED)
        if KIND is not None:
            tile = loaded_codes(codes, N + n, there, k0, K, PER, BK)
            w = numbers_of(tile, scales, zero_points, minimums, N + n, there, k0, ELEMENT, PER, GROUP, GROUPS, BK)
            up = product(xs, tl.trans(w.to(x.dtype.element_ty)), up, EMULATED)
    places = m[:, None].to(tl.int64) * N + n[None, :]
    inside = (m < M)[:, None] & there[None, :]
    if SPLITS > 1:
        tl.static_assert(KIND is None)
        put_sums(acc, partial, split, M * N, places, inside)
        inside = only_if(inside, is_last(arrived, place, SPLITS))
        acc = added_up(tl.zeros((BM, BN), tl.float32), partial, M * N, places, inside, SPLITS)
    acc = behind_product(acc, up, bias, residual, n[None, :], places, there[None, :], inside, N, KIND)
    tl.store(y + places, acc.to(y.dtype.element_ty), mask=inside)


@triton.jit
def table_rows_of_codes(
    codes,
    scales,
    zero_points,
    minimums,
    rows,
    y,
    COUNT,
    K: tl.constexpr,
    ELEMENT: tl.constexpr,
    PER: tl.constexpr,
    GROUP: tl.constexpr,
    GROUPS: tl.constexpr,
    PADDED: tl.constexpr,
    PDL: tl.constexpr,
):
    """`quantized_embedding`: y [programs, K] of the rows of a table of COUNT that `rows` names; NaN for others.

    PADDED: the next power of two of K, at least GROUP.
    """
    start_next(PDL)
    wait_for_previous(PDL)
    k = tl.arange(0, PADDED)
    place = tl.program_id(0).to(tl.int64)
    row = tl.load(rows + place) + tl.zeros((1,), tl.int64)
    there = (row >= 0) & (row < COUNT)
    row = tl.where(there, row, 0)
    bytes = loaded_codes(codes, row, there, 0, K, PER, PADDED)
    numbers = numbers_of(bytes, scales, zero_points, minimums, row, there, 0, ELEMENT, PER, GROUP, GROUPS, PADDED)
    numbers = tl.where(there[:, None], numbers, float("nan"))
    tl.store(y + place * K + k[None, :], numbers.to(y.dtype.element_ty), mask=(k < K)[None, :])
