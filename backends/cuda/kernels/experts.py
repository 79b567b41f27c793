# pyright: basic
# Triton compiles or interprets these functions; their parameters have the types that a launch gives them.
"""Mixtures of experts: few tokens each by itself, many sorted by expert, so that a weight is read once a tile.

An assignment is a token's place j of CHOSEN; the assignment a = token * CHOSEN + j. An index of an expert that there is
not counts as the nearest one that there is.
"""

from __future__ import annotations

import triton
import triton.language as tl

from graphwright.backends.cuda.kernels.common import activate, product, start_next, wait_for_previous


@triton.jit
def units(
    gate, up, KIND: tl.constexpr, GATED: tl.constexpr, ALPHA: tl.constexpr, LIMIT: tl.constexpr, UP_OFFSET: tl.constexpr
):
    """What becomes of a gate and what it lets through, or of a sum alone: see `graphwright.ir.ops.experts`."""
    if LIMIT is not None:
        gate = tl.where(gate > LIMIT, LIMIT, gate)
        up = tl.where(up > LIMIT, LIMIT, tl.where(up < -LIMIT, -LIMIT, up))
    active = gate / (1.0 + tl.exp(-ALPHA * gate)) if ALPHA != 1.0 else activate(gate, KIND)
    if GATED:
        active *= up + UP_OFFSET
    return active


@triton.jit
def chosen_expert(indices, a, EXPERTS: tl.constexpr):
    return tl.minimum(tl.maximum(tl.load(indices + a), 0), EXPERTS - 1)


@triton.jit
def hidden_of_few(
    x,
    indices,
    gate_up,
    bias,
    hidden,
    N,
    CHOSEN: tl.constexpr,
    EXPERTS: tl.constexpr,
    K: tl.constexpr,
    KIND: tl.constexpr,
    GATED: tl.constexpr,
    ALPHA: tl.constexpr,
    LIMIT: tl.constexpr,
    UP_OFFSET: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    PDL: tl.constexpr,
):
    """hidden [assignments, N] of x [tokens, K] and gate_up [EXPERTS, N, K], or [EXPERTS, 2N, K] if GATED.

    Programs: assignments * ceil(N / BN).
    """
    start_next(PDL)
    wait_for_previous(PDL)
    blocks = tl.cdiv(N, BN)
    a = tl.program_id(0) // blocks
    n = tl.program_id(0) % blocks * BN + tl.arange(0, BN)
    k = tl.arange(0, BK)
    expert = chosen_expert(indices, a, EXPERTS)
    first = expert * (2 * N if GATED else N)
    rows = gate_up + (first + n)[:, None].to(tl.int64) * K
    tokens = x + (a // CHOSEN).to(tl.int64) * K
    acc = tl.zeros((BN,), tl.float32)
    up = tl.zeros((BN,), tl.float32)
    for k0 in range(0, K, BK):
        at = k0 + k
        inside = (n < N)[:, None] & (at < K)[None, :]
        xs = tl.load(tokens + at, mask=at < K, other=0.0).to(tl.float32)
        acc += tl.sum(tl.load(rows + at[None, :], mask=inside, other=0.0).to(tl.float32) * xs[None, :], 1)
        if GATED:
            tile = tl.load(rows + N.to(tl.int64) * K + at[None, :], mask=inside, other=0.0)
            up += tl.sum(tile.to(tl.float32) * xs[None, :], 1)
    if bias is not None:
        acc += tl.load(bias + first + n, mask=n < N, other=0.0).to(tl.float32)
        if GATED:
            up += tl.load(bias + first + N + n, mask=n < N, other=0.0).to(tl.float32)
    y = units(acc, up, KIND, GATED, ALPHA, LIMIT, UP_OFFSET)
    tl.store(hidden + a.to(tl.int64) * N + n, y.to(hidden.dtype.element_ty), mask=n < N)


@triton.jit
def down_of_few(
    hidden,
    indices,
    shares,
    down,
    bias,
    y,
    N,
    CHOSEN: tl.constexpr,
    EXPERTS: tl.constexpr,
    K: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    PDL: tl.constexpr,
):
    """y [tokens, N] of hidden [assignments, K], shares [assignments] and down [EXPERTS, N, K].

    Programs: tokens * ceil(N / BN).
    """
    start_next(PDL)
    wait_for_previous(PDL)
    blocks = tl.cdiv(N, BN)
    token = tl.program_id(0) // blocks
    n = tl.program_id(0) % blocks * BN + tl.arange(0, BN)
    k = tl.arange(0, BK)
    total = tl.zeros((BN,), tl.float32)
    for j in range(CHOSEN):
        a = token * CHOSEN + j
        expert = chosen_expert(indices, a, EXPERTS)
        rows = down + (expert * N + n)[:, None].to(tl.int64) * K
        acc = tl.zeros((BN,), tl.float32)
        for k0 in range(0, K, BK):
            at = k0 + k
            hs = tl.load(hidden + a.to(tl.int64) * K + at, mask=at < K, other=0.0).to(tl.float32)
            tile = tl.load(rows + at[None, :], mask=(n < N)[:, None] & (at < K)[None, :], other=0.0)
            acc += tl.sum(tile.to(tl.float32) * hs[None, :], 1)
        if bias is not None:
            acc += tl.load(bias + expert * N + n, mask=n < N, other=0.0).to(tl.float32)
        total += tl.load(shares + a).to(tl.float32) * acc
    tl.store(y + token.to(tl.int64) * N + n, total.to(y.dtype.element_ty), mask=n < N)


@triton.jit
def sort_by_expert(indices, order, starts, COUNT, EXPERTS: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr):
    """order [COUNT]: the assignments, those of expert 0 first; starts [EXPERTS + 1]: where each expert's begin in it.

    Programs: EXPERTS, each of which goes through all assignments twice.
    """
    start_next(PDL)
    wait_for_previous(PDL)
    expert = tl.program_id(0)
    lane = tl.arange(0, BLOCK)
    place = 0
    for a0 in range(0, COUNT, BLOCK):
        a = a0 + lane
        index = tl.minimum(tl.maximum(tl.load(indices + a, mask=a < COUNT, other=0), 0), EXPERTS - 1)
        place += tl.sum(((index < expert) & (a < COUNT)).to(tl.int32), 0)
    tl.store(starts + expert, place)
    for a0 in range(0, COUNT, BLOCK):
        a = a0 + lane
        index = tl.minimum(tl.maximum(tl.load(indices + a, mask=a < COUNT, other=0), 0), EXPERTS - 1)
        own = (index == expert) & (a < COUNT)
        tl.store(order + place + tl.cumsum(own.to(tl.int32), 0) - 1, a, mask=own)
        place += tl.sum(own.to(tl.int32), 0)
    if expert == EXPERTS - 1:
        tl.store(starts + EXPERTS, place)


@triton.jit
def rows_of_tile(starts, tile, EXPERTS: tl.constexpr, PADDED: tl.constexpr, BM: tl.constexpr):
    """Of the tiles of BM assignments of one expert each: the expert, EXPERTS or more behind the last tile, and in the
    sorted order the place at which the tile begins and at which the expert's end."""
    e = tl.arange(0, PADDED)
    first = tl.load(starts + e, mask=e < EXPERTS, other=0)
    last = tl.load(starts + e + 1, mask=e < EXPERTS, other=0)
    tiles = tl.where(e < EXPERTS, (last - first + BM - 1) // BM, 0)
    ends = tl.cumsum(tiles, 0)
    expert = tl.sum((ends <= tile).to(tl.int32), 0)
    own = e == expert
    begin = tl.sum(tl.where(own, first + (tile - ends + tiles) * BM, 0), 0)
    return expert, begin, tl.sum(tl.where(own, last, 0), 0)


@triton.jit
def hidden_of_many(
    x,
    order,
    starts,
    gate_up,
    bias,
    hidden,
    N,
    CHOSEN: tl.constexpr,
    EXPERTS: tl.constexpr,
    PADDED_EXPERTS: tl.constexpr,
    K: tl.constexpr,
    KIND: tl.constexpr,
    GATED: tl.constexpr,
    ALPHA: tl.constexpr,
    LIMIT: tl.constexpr,
    UP_OFFSET: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    PDL: tl.constexpr,
    EMULATED: tl.constexpr,
):
    """As `hidden_of_few`, by tiles of BM assignments of one expert.

    Programs: (ceil(assignments / BM) + EXPERTS) * ceil(N / BN), at least as many tiles as there can be.
    """
    start_next(PDL)
    wait_for_previous(PDL)
    blocks = tl.cdiv(N, BN)
    expert, begin, end = rows_of_tile(starts, tl.program_id(0) // blocks, EXPERTS, PADDED_EXPERTS, BM)
    if expert < EXPERTS:
        r = begin + tl.arange(0, BM)
        a = tl.load(order + r, mask=r < end, other=0)
        n = tl.program_id(0) % blocks * BN + tl.arange(0, BN)
        k = tl.arange(0, BK)
        first = expert * (2 * N if GATED else N)
        rows = gate_up + (first + n)[:, None].to(tl.int64) * K
        tokens = x + (a // CHOSEN)[:, None].to(tl.int64) * K
        acc = tl.zeros((BM, BN), tl.float32)
        up = tl.zeros((BM, BN), tl.float32)
        for k0 in range(0, K, BK):
            at = k0 + k
            inside = (n < N)[:, None] & (at < K)[None, :]
            xs = tl.load(tokens + at[None, :], mask=(r < end)[:, None] & (at < K)[None, :], other=0.0)
            tile = tl.load(rows + at[None, :], mask=inside, other=0.0)
            acc = product(xs, tl.trans(tile), acc, EMULATED)
            if GATED:
                up_tile = tl.load(rows + N.to(tl.int64) * K + at[None, :], mask=inside, other=0.0)
                up = product(xs, tl.trans(up_tile), up, EMULATED)
        if bias is not None:
            acc += tl.load(bias + first + n, mask=n < N, other=0.0).to(tl.float32)[None, :]
            if GATED:
                up += tl.load(bias + first + N + n, mask=n < N, other=0.0).to(tl.float32)[None, :]
        y = units(acc, up, KIND, GATED, ALPHA, LIMIT, UP_OFFSET)
        places = hidden + a[:, None].to(tl.int64) * N + n[None, :]
        tl.store(places, y.to(hidden.dtype.element_ty), mask=(r < end)[:, None] & (n < N)[None, :])


@triton.jit
def down_of_many(
    hidden,
    order,
    starts,
    shares,
    down,
    bias,
    parts,
    N,
    EXPERTS: tl.constexpr,
    PADDED_EXPERTS: tl.constexpr,
    K: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    PDL: tl.constexpr,
    EMULATED: tl.constexpr,
):
    """parts f32 [assignments, N]: what each adds to its token, its share included. Programs as `hidden_of_many`."""
    start_next(PDL)
    wait_for_previous(PDL)
    blocks = tl.cdiv(N, BN)
    expert, begin, end = rows_of_tile(starts, tl.program_id(0) // blocks, EXPERTS, PADDED_EXPERTS, BM)
    if expert < EXPERTS:
        r = begin + tl.arange(0, BM)
        a = tl.load(order + r, mask=r < end, other=0)
        n = tl.program_id(0) % blocks * BN + tl.arange(0, BN)
        k = tl.arange(0, BK)
        rows = down + (expert * N + n)[:, None].to(tl.int64) * K
        taken = hidden + a[:, None].to(tl.int64) * K
        acc = tl.zeros((BM, BN), tl.float32)
        for k0 in range(0, K, BK):
            at = k0 + k
            hs = tl.load(taken + at[None, :], mask=(r < end)[:, None] & (at < K)[None, :], other=0.0)
            tile = tl.load(rows + at[None, :], mask=(n < N)[:, None] & (at < K)[None, :], other=0.0)
            acc = product(hs, tl.trans(tile), acc, EMULATED)
        if bias is not None:
            acc += tl.load(bias + expert * N + n, mask=n < N, other=0.0).to(tl.float32)[None, :]
        acc *= tl.load(shares + a, mask=r < end, other=0.0).to(tl.float32)[:, None]
        places = parts + a[:, None].to(tl.int64) * N + n[None, :]
        tl.store(places, acc, mask=(r < end)[:, None] & (n < N)[None, :])


@triton.jit
def sum_of_chosen(parts, y, N, CHOSEN: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr):
    """y [tokens, N]: the sums of the parts of each token. Programs: tokens * ceil(N / BLOCK)."""
    start_next(PDL)
    wait_for_previous(PDL)
    blocks = tl.cdiv(N, BLOCK)
    token = (tl.program_id(0) // blocks).to(tl.int64)
    n = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.float32)
    for j in range(CHOSEN):
        total += tl.load(parts + (token * CHOSEN + j) * N + n, mask=n < N, other=0.0)
    tl.store(y + token * N + n, total.to(y.dtype.element_ty), mask=n < N)
