# pyright: basic, reportGeneralTypeIssues=false, reportArgumentType=false
# Triton compiles or interprets these functions; their parameters have the types that a launch gives them.
"""Recurrences: a block of columns of a state goes through the tokens in registers, token by token or by products."""

from __future__ import annotations

import triton
import triton.language as tl

from graphwright.backends.cuda.kernels.common import product, start_next, wait_for_previous


@triton.jit
def real_count(new_length, b, S):
    """The tokens of row b that are no padding."""
    return S if new_length is None else tl.minimum(tl.load(new_length + b), S).to(tl.int32)


@triton.jit
def token_by_token(
    q,
    k,
    v,
    decay,
    rates,
    beta,
    state,
    new_length,
    y,
    last,
    S,
    HEADS: tl.constexpr,
    GROUPS: tl.constexpr,
    KEYS: tl.constexpr,
    VALUES: tl.constexpr,
    DECAYS: tl.constexpr,
    RATES: tl.constexpr,
    PADDED_KEYS: tl.constexpr,
    BC: tl.constexpr,
    AHEAD: tl.constexpr,
    PDL: tl.constexpr,
):
    """`linear_recurrence` in all its forms; decay, rates, beta, state and new_length may be None.

    A group's heads are side by side: BC of its HEADS / GROUPS * VALUES columns a program, since heads may have a single
    value each. decay is [batch, HEADS, S, DECAYS], rates [HEADS, RATES]. Programs: batch * GROUPS * ceil(columns / BC).
    """
    start_next(PDL)
    wait_for_previous(PDL)
    SHARE: tl.constexpr = HEADS // GROUPS
    blocks = tl.cdiv(SHARE * VALUES, BC)
    b = tl.program_id(0) // (GROUPS * blocks)
    g = tl.program_id(0) // blocks % GROUPS
    c = tl.program_id(0) % blocks * BC + tl.arange(0, BC)
    i = tl.arange(0, PADDED_KEYS)
    inside = c < SHARE * VALUES
    there = (i < KEYS)[:, None] & inside[None, :]
    h = g * SHARE + c // VALUES
    head = (b * HEADS + h).to(tl.int64)
    group = (b * GROUPS + g).to(tl.int64)
    places = head[None, :] * KEYS * VALUES + i[:, None] * VALUES + (c % VALUES)[None, :]
    if state is not None:
        matrix = tl.load(state + places, mask=there, other=0.0).to(tl.float32)
    else:
        matrix = tl.zeros((PADDED_KEYS, BC), tl.float32)
    if rates is not None:
        if RATES > 1:
            rate = tl.load(rates + h[None, :] * RATES + i[:, None], mask=there, other=0.0).to(tl.float32)
        else:
            rate = tl.load(rates + h, mask=inside, other=0.0).to(tl.float32)[None, :]
    count = real_count(new_length, b, S)
    for s in tl.range(0, count, num_stages=AHEAD):
        row = (group * S + s) * KEYS
        keys = tl.load(k + row + i, mask=i < KEYS, other=0.0).to(tl.float32)[:, None]
        queries = tl.load(q + row + i, mask=i < KEYS, other=0.0).to(tl.float32)[:, None]
        token = head * S + s
        taken = tl.load(v + token * VALUES + c % VALUES, mask=inside, other=0.0).to(tl.float32)
        if decay is not None:
            if DECAYS > 1:
                at = token[None, :] * DECAYS + i[:, None]
                logarithm = tl.load(decay + at, mask=there, other=0.0).to(tl.float32)
            else:
                logarithm = tl.load(decay + token, mask=inside, other=0.0).to(tl.float32)[None, :]
            if rates is not None:
                logarithm = logarithm * rate
            matrix = matrix * tl.exp(logarithm)
        if beta is not None:
            strength = tl.load(beta + token, mask=inside, other=0.0).to(tl.float32)
            taken = strength * (taken - tl.sum(keys * matrix, 0))
        matrix += keys * taken[None, :]
        read = tl.sum(queries * matrix, 0)
        tl.store(y + token * VALUES + c % VALUES, read.to(y.dtype.element_ty), mask=inside)
    # What the result holds for padding is arbitrary, but not what the memory held before.
    for s in range(count, S):
        at = (head * S + s) * VALUES + c % VALUES
        tl.store(y + at, tl.zeros((BC,), y.dtype.element_ty), mask=inside)
    tl.store(last + places, matrix.to(last.dtype.element_ty), mask=there)


@triton.jit
def upper_bits(x):
    """float32 x cut to the 11 bits that tensor cores take of it."""
    return (x.to(tl.int32, bitcast=True) & -8192).to(tl.float32, bitcast=True)


@triton.jit
def split_product(a, b, acc, LEFT: tl.constexpr):
    """acc + a @ b of float32, of which tensor cores take 11 bits: more than half precision has. That has the one that
    is not a, if LEFT, or not b; the other is multiplied in two parts, of 22 bits together."""
    if LEFT:
        high = upper_bits(a)
        acc = tl.dot(a - high, b, acc, input_precision="tf32")
        acc = tl.dot(high, b, acc, input_precision="tf32")
    else:
        high = upper_bits(b)
        acc = tl.dot(a, b - high, acc, input_precision="tf32")
        acc = tl.dot(a, high, acc, input_precision="tf32")
    return acc


@triton.jit
def by_products(
    q,
    k,
    v,
    decay,
    rates,
    state,
    new_length,
    y,
    last,
    S,
    HEADS: tl.constexpr,
    GROUPS: tl.constexpr,
    KEYS: tl.constexpr,
    VALUES: tl.constexpr,
    PADDED_KEYS: tl.constexpr,
    BT: tl.constexpr,
    BV: tl.constexpr,
    PDL: tl.constexpr,
    EMULATED: tl.constexpr,
):
    """`linear_recurrence` with one decay a head and token, or none, and without beta: BT tokens at a time, as products
    of tiles (Dao & Gu 2024, section 6). decay, rates, state and new_length may be None; rates is [HEADS, 1].

    With l the sums of a tile's logarithms up to each token and h the state in front of the tile,

        y_i = exp(l_i) h^T q_i + sum over j <= i of exp(l_i - l_j) (q_i . k_j) v_j,
        h   = exp(l_end) h + sum over j of exp(l_end - l_j) k_j v_j^T.

    Programs: batch * HEADS * ceil(VALUES / BV).
    """
    start_next(PDL)
    wait_for_previous(PDL)
    blocks = tl.cdiv(VALUES, BV)
    head = (tl.program_id(0) // blocks).to(tl.int64)
    b = head // HEADS
    h = head % HEADS
    group = b * GROUPS + h // (HEADS // GROUPS)
    c = tl.program_id(0) % blocks * BV + tl.arange(0, BV)
    i = tl.arange(0, PADDED_KEYS)
    r = tl.arange(0, BT)
    places = head * KEYS * VALUES + i[:, None] * VALUES + c[None, :]
    there = (i < KEYS)[:, None] & (c < VALUES)[None, :]
    if state is not None:
        matrix = tl.load(state + places, mask=there, other=0.0).to(tl.float32)
    else:
        matrix = tl.zeros((PADDED_KEYS, BV), tl.float32)
    if rates is not None:
        rate = tl.load(rates + h).to(tl.float32)
    count = real_count(new_length, b, S)
    for s0 in range(0, count, BT):
        s = s0 + r
        real = s < count
        rows = (group * S + s)[:, None] * KEYS + i[None, :]
        wanted = real[:, None] & (i < KEYS)[None, :]
        queries = tl.load(q + rows, mask=wanted, other=0.0)
        keys = tl.load(k + rows, mask=wanted, other=0.0)
        at = (head * S + s)[:, None] * VALUES + c[None, :]
        kept = real[:, None] & (c < VALUES)[None, :]
        values = tl.load(v + at, mask=kept, other=0.0).to(tl.float32)
        scores = product(queries, tl.trans(keys), tl.zeros((BT, BT), tl.float32), EMULATED)
        # As float32 from here on: decays are between the products, whose result is rounded once.
        old = split_product(queries.to(tl.float32), matrix, tl.zeros((BT, BV), tl.float32), False)
        weighted = keys.to(tl.float32)
        if decay is not None:
            logarithm = tl.load(decay + head * S + s, mask=real, other=0.0).to(tl.float32)
            if rates is not None:
                logarithm = logarithm * rate
            sums = tl.cumsum(logarithm, 0)
            end = tl.sum(logarithm, 0)
            scores *= tl.exp(tl.where(r[:, None] >= r[None, :], sums[:, None] - sums[None, :], 0.0))
            old *= tl.exp(sums)[:, None]
            weighted *= tl.exp(end - sums)[:, None]
            matrix *= tl.exp(end)
        scores = tl.where(r[:, None] >= r[None, :], scores, 0.0)
        result = split_product(scores, values, old, True)
        matrix = split_product(tl.trans(weighted), values, matrix, True)
        tl.store(y + at, result.to(y.dtype.element_ty), mask=kept)
    for s0 in range(count, S, BT):
        s = s0 + r
        at = (head * S + s)[:, None] * VALUES + c[None, :]
        kept = (s < S)[:, None] & (c < VALUES)[None, :]
        tl.store(y + at, tl.zeros((BT, BV), y.dtype.element_ty), mask=kept)
    tl.store(last + places, matrix.to(last.dtype.element_ty), mask=there)


@triton.jit
def weighted_mean(
    key,
    value,
    decay,
    bonus,
    state,
    new_length,
    y,
    last,
    S,
    CHANNELS: tl.constexpr,
    BC: tl.constexpr,
    AHEAD: tl.constexpr,
    PDL: tl.constexpr,
):
    """`weighted_mean`; state and new_length may be None. Programs: batch * ceil(CHANNELS / BC)."""
    start_next(PDL)
    wait_for_previous(PDL)
    blocks = tl.cdiv(CHANNELS, BC)
    b = (tl.program_id(0) // blocks).to(tl.int64)
    c = tl.program_id(0) % blocks * BC + tl.arange(0, BC)
    inside = c < CHANNELS
    decays = tl.load(decay + c, mask=inside, other=0.0).to(tl.float32)
    extra = tl.load(bonus + c, mask=inside, other=0.0).to(tl.float32)
    kept = b * 3 * CHANNELS + c
    if state is not None:
        numerator = tl.load(state + kept, mask=inside, other=0.0).to(tl.float32)
        denominator = tl.load(state + kept + CHANNELS, mask=inside, other=0.0).to(tl.float32)
        largest = tl.load(state + kept + 2 * CHANNELS, mask=inside, other=0.0).to(tl.float32)
    else:
        numerator = tl.zeros((BC,), tl.float32)
        denominator = tl.zeros((BC,), tl.float32)
        largest = tl.zeros((BC,), tl.float32)
    count = real_count(new_length, b, S)
    for s in tl.range(0, count, num_stages=AHEAD):
        at = (b * S + s) * CHANNELS + c
        ks = tl.load(key + at, mask=inside, other=0.0).to(tl.float32)
        vs = tl.load(value + at, mask=inside, other=0.0).to(tl.float32)
        # A row that has seen a token has a denominator of 1 or more.
        known = tl.where(denominator > 0, largest, float("-inf"))
        top = tl.maximum(known, ks + extra)
        before = tl.exp(known - top)
        now = tl.exp(ks + extra - top)
        mean = (before * numerator + now * vs) / (before * denominator + now)
        tl.store(y + at, mean.to(y.dtype.element_ty), mask=inside)
        largest = tl.maximum(known + decays, ks)
        before = tl.exp(known + decays - largest)
        now = tl.exp(ks - largest)
        numerator = before * numerator + now * vs
        denominator = before * denominator + now
    for s in range(count, S):
        tl.store(y + (b * S + s) * CHANNELS + c, tl.zeros((BC,), y.dtype.element_ty), mask=inside)
    tl.store(last + kept, numerator.to(last.dtype.element_ty), mask=inside)
    tl.store(last + kept + CHANNELS, denominator.to(last.dtype.element_ty), mask=inside)
    tl.store(last + kept + 2 * CHANNELS, largest.to(last.dtype.element_ty), mask=inside)
