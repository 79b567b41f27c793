# pyright: basic, reportOperatorIssue=false
# Triton compiles or interprets these functions; their parameters have the types that a launch gives them.
"""Attention over contiguous caches: whole for many queries, and for few over pieces of the context."""

from __future__ import annotations

import triton
import triton.language as tl

from graphwright.backends.cuda.kernels.common import product, start_next, tanh, wait_for_previous


@triton.jit
def scores_of(q, keys, asked, at, end, MASK: tl.constexpr, WINDOW: tl.constexpr, SOFTCAP: tl.constexpr,
              EMULATED: tl.constexpr):  # fmt: skip
    """Scores of queries [R, size], which carry the scale and log2(e), and keys [N, size]; -inf where one is not seen.

    `asked` are the positions of the queries, `at` those of the keys, of which `end` are there.
    """
    scores = product(q, tl.trans(keys), tl.zeros((q.shape[0], keys.shape[0]), tl.float32), EMULATED)
    if SOFTCAP > 0:
        # SOFTCAP is in units of a factor of two, as scores are.
        scores = SOFTCAP * tanh(scores / SOFTCAP)
    seen = (at < end)[None, :]
    if MASK != "full":
        seen = seen & (at[None, :] <= asked[:, None])
    if MASK == "sliding":
        seen = seen & (at[None, :] > asked[:, None] - WINDOW)
    if MASK == "chunked":
        seen = seen & (at[None, :] // WINDOW == asked[:, None] // WINDOW)
    return tl.where(seen, scores, float("-inf"))


@triton.jit
def go_on(acc, largest, total, scores, values, EMULATED: tl.constexpr):
    """The running sums of a softmax after more scores: of values, and their largest and total (Milakov & Gimelshein
    2018)."""
    new = tl.maximum(largest, tl.max(scores, 1))
    # Where nothing was seen yet there is nothing to scale: -inf minus -inf would be NaN.
    base = tl.where(new == float("-inf"), 0.0, new)
    powers = tl.exp2(scores - base[:, None])
    kept = tl.exp2(largest - base)
    acc = product(powers.to(values.dtype), values, acc * kept[:, None], EMULATED)
    return acc, new, total * kept + tl.sum(powers, 1)


@triton.jit
def split_attention(
    q,
    key_cache,
    value_cache,
    positions,
    key_length,
    partial,
    S,
    C,
    POSITION_ROWS: tl.constexpr,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    VALUE_SIZE: tl.constexpr,
    SPLITS: tl.constexpr,
    SCALE: tl.constexpr,
    MASK: tl.constexpr,
    WINDOW: tl.constexpr,
    SOFTCAP: tl.constexpr,
    ROWS: tl.constexpr,
    BC: tl.constexpr,
    PADDED: tl.constexpr,
    VALUE_PADDED: tl.constexpr,
    PDL: tl.constexpr,
    EMULATED: tl.constexpr,
):
    """`cuda.split_attention`: programs are (row of the batch, head of keys, piece), pieces fastest.

    q [batch, HEADS, S, SIZE], caches [batch, KV_HEADS, C, size], partial f32 [batch, HEADS, SPLITS, S, VALUE_SIZE + 2].
    The queries of a head of keys, HEADS // KV_HEADS heads of S tokens, are the rows of one product: at most ROWS.
    """
    start_next(PDL)
    wait_for_previous(PDL)
    place = tl.program_id(0)
    piece = place % SPLITS
    h = place // SPLITS % KV_HEADS
    b = place // SPLITS // KV_HEADS
    group: tl.constexpr = HEADS // KV_HEADS
    r = tl.arange(0, ROWS)
    head = h * group + r // S
    s = r % S
    there = r < group * S
    d = tl.arange(0, PADDED)
    e = tl.arange(0, VALUE_PADDED)
    length = tl.load(key_length + b).to(tl.int32)
    asked = tl.load(positions + tl.where(POSITION_ROWS == 1, 0, b) * S + s, mask=there, other=0).to(tl.int32)
    per = (length + SPLITS - 1) // SPLITS
    begin = piece * per
    end = tl.minimum(begin + per, length)
    row = ((b * HEADS + head) * S + s).to(tl.int64)
    qs = tl.load(q + row[:, None] * SIZE + d[None, :], mask=there[:, None] & (d < SIZE)[None, :], other=0.0)
    qs = (qs.to(tl.float32) * SCALE).to(q.dtype.element_ty)
    keys = key_cache + (b * KV_HEADS + h).to(tl.int64) * C * SIZE
    values = value_cache + (b * KV_HEADS + h).to(tl.int64) * C * VALUE_SIZE
    acc = tl.zeros((ROWS, VALUE_PADDED), tl.float32)
    largest = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    for c0 in range(begin, end, BC):
        at = c0 + tl.arange(0, BC)
        ks = tl.load(keys + at[:, None] * SIZE + d[None, :], mask=(at < end)[:, None] & (d < SIZE)[None, :], other=0.0)
        scores = scores_of(qs, ks, asked, at, end, MASK, WINDOW, SOFTCAP, EMULATED)
        vs = tl.load(
            values + at[:, None] * VALUE_SIZE + e[None, :],
            mask=(at < end)[:, None] & (e < VALUE_SIZE)[None, :],
            other=0.0,
        )
        acc, largest, total = go_on(acc, largest, total, scores, vs, EMULATED)
    out = partial + (((b * HEADS + head) * SPLITS + piece) * S + s).to(tl.int64) * (VALUE_SIZE + 2)
    tl.store(out[:, None] + e[None, :], acc, mask=there[:, None] & (e < VALUE_SIZE)[None, :])
    tl.store(out + VALUE_SIZE, largest, mask=there)
    tl.store(out + VALUE_SIZE + 1, total, mask=there)


@triton.jit
def combine_splits(
    partial,
    sinks,
    y,
    S,
    HEADS: tl.constexpr,
    VALUE_SIZE: tl.constexpr,
    SPLITS: tl.constexpr,
    PADDED_SPLITS: tl.constexpr,
    VALUE_PADDED: tl.constexpr,
    PDL: tl.constexpr,
):
    """`cuda.combine_splits`: programs are (row, token, head), heads fastest; y [batch, S, HEADS * VALUE_SIZE]."""
    start_next(PDL)
    wait_for_previous(PDL)
    place = tl.program_id(0)
    h = place % HEADS
    s = place // HEADS % S
    b = place // HEADS // S
    e = tl.arange(0, VALUE_PADDED)
    piece = tl.arange(0, PADDED_SPLITS)
    there = piece < SPLITS
    row = partial + (((b * HEADS + h) * SPLITS + piece) * S + s).to(tl.int64) * (VALUE_SIZE + 2)
    largest = tl.load(row + VALUE_SIZE, mask=there, other=float("-inf"))
    total = tl.load(row + VALUE_SIZE + 1, mask=there, other=0.0)
    most = tl.max(largest, 0)
    if sinks is not None:
        sink = tl.load(sinks + h).to(tl.float32) * 1.4426950408889634
        most = tl.maximum(most, sink)
    base = tl.where(most == float("-inf"), 0.0, most)
    weight = tl.exp2(largest - base)
    sums = tl.load(row[:, None] + e[None, :], mask=there[:, None] & (e < VALUE_SIZE)[None, :], other=0.0)
    whole = tl.sum(total * weight, 0)
    if sinks is not None:
        whole += tl.exp2(sink - base)
    result = tl.sum(sums * weight[:, None], 0) / tl.where(whole == 0.0, 1.0, whole)
    tl.store(y + place.to(tl.int64) * VALUE_SIZE + e, result.to(y.dtype.element_ty), mask=e < VALUE_SIZE)


@triton.jit
def attention(
    q,
    key_cache,
    value_cache,
    positions,
    key_length,
    y,
    S,
    C,
    POSITION_ROWS: tl.constexpr,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    VALUE_SIZE: tl.constexpr,
    SCALE: tl.constexpr,
    MASK: tl.constexpr,
    WINDOW: tl.constexpr,
    SOFTCAP: tl.constexpr,
    BS: tl.constexpr,
    BC: tl.constexpr,
    PADDED: tl.constexpr,
    VALUE_PADDED: tl.constexpr,
    PDL: tl.constexpr,
    EMULATED: tl.constexpr,
):
    """`cuda.attention` with merged heads: programs are (row of the batch, head, tile of BS queries), tiles fastest.

    q [batch, HEADS, S, SIZE], caches [batch, KV_HEADS, C, size], y [batch, S, HEADS * VALUE_SIZE] (FlashAttention-2,
    Dao 2023). Keys that no query of the tile sees are not read: positions of a row ascend.
    """
    start_next(PDL)
    wait_for_previous(PDL)
    place = tl.program_id(0)
    tiles = tl.cdiv(S, BS)
    # Last tiles first: under a causal mask they take longest.
    tile = tiles - 1 - place % tiles
    h = place // tiles % HEADS
    b = place // tiles // HEADS
    s = tile * BS + tl.arange(0, BS)
    d = tl.arange(0, PADDED)
    e = tl.arange(0, VALUE_PADDED)
    row = tl.where(POSITION_ROWS == 1, 0, b) * S
    length = tl.load(key_length + b).to(tl.int32)
    asked = tl.load(positions + row + s, mask=s < S, other=0).to(tl.int32)
    begin, end = 0, length
    if MASK != "full":
        end = tl.minimum(length, tl.max(asked, 0) + 1)
        first = tl.load(positions + row + tile * BS).to(tl.int32)
        if MASK == "sliding":
            begin = tl.maximum(first - WINDOW + 1, 0) // BC * BC
        if MASK == "chunked":
            begin = first // WINDOW * WINDOW // BC * BC
    queries = q + (b * HEADS + h).to(tl.int64) * S * SIZE
    qs = tl.load(queries + s[:, None] * SIZE + d[None, :], mask=(s < S)[:, None] & (d < SIZE)[None, :], other=0.0)
    qs = (qs.to(tl.float32) * SCALE).to(q.dtype.element_ty)
    kv = (b * KV_HEADS + h // (HEADS // KV_HEADS)).to(tl.int64)
    keys, values = key_cache + kv * C * SIZE, value_cache + kv * C * VALUE_SIZE
    acc = tl.zeros((BS, VALUE_PADDED), tl.float32)
    largest = tl.full((BS,), float("-inf"), tl.float32)
    total = tl.zeros((BS,), tl.float32)
    for c0 in range(begin, end, BC):
        at = c0 + tl.arange(0, BC)
        ks = tl.load(keys + at[:, None] * SIZE + d[None, :], mask=(at < end)[:, None] & (d < SIZE)[None, :], other=0.0)
        scores = scores_of(qs, ks, asked, at, end, MASK, WINDOW, SOFTCAP, EMULATED)
        vs = tl.load(
            values + at[:, None] * VALUE_SIZE + e[None, :],
            mask=(at < end)[:, None] & (e < VALUE_SIZE)[None, :],
            other=0.0,
        )
        acc, largest, total = go_on(acc, largest, total, scores, vs, EMULATED)
    result = acc / tl.where(total == 0.0, 1.0, total)[:, None]
    out = y + ((b * S + s[:, None]).to(tl.int64) * HEADS + h) * VALUE_SIZE + e[None, :]
    tl.store(out, result.to(y.dtype.element_ty), mask=(s < S)[:, None] & (e < VALUE_SIZE)[None, :])
