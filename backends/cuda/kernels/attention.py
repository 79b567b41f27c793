# pyright: basic, reportOperatorIssue=false
# Triton compiles or interprets these functions; their parameters have the types that a launch gives them.
"""Attention over caches: whole for many queries, and for few over pieces of the context."""

from __future__ import annotations

import triton
import triton.language as tl

from graphwright.backends.cuda.kernels.cached import factors, held
from graphwright.backends.cuda.kernels.common import product, start_next, tanh, wait_for_previous


@triton.jit
def scores_of(q, keys, asked, at, there, bias, MASK: tl.constexpr, WINDOW: tl.constexpr, SOFTCAP: tl.constexpr,
              EMULATED: tl.constexpr):  # fmt: skip
    """Scores of queries [R, size], which carry the scale and log2(e), and keys [N, size]; -inf where one is not seen.

    `asked` are the positions of the queries, `at` those of the keys, `there` says which keys are there. `bias` is None,
    or [R, N]: what `bias_of` gives.
    """
    scores = product(q, tl.trans(keys), tl.zeros((q.shape[0], keys.shape[0]), tl.float32), EMULATED)
    if SOFTCAP > 0:
        # SOFTCAP is in units of a factor of two, as scores are.
        scores = SOFTCAP * tanh(scores / SOFTCAP)
    seen = there[None, :]
    if MASK == "prefix":
        seen = seen & ((at[None, :] <= asked[:, None]) | (at < WINDOW)[None, :])
    elif MASK != "full":
        seen = seen & (at[None, :] <= asked[:, None])
    if MASK == "sliding":
        seen = seen & (at[None, :] > asked[:, None] - WINDOW)
    if MASK == "chunked":
        seen = seen & (at[None, :] // WINDOW == asked[:, None] // WINDOW)
    if bias is not None:
        scores += bias
    return tl.where(seen, scores, float("-inf"))


@triton.jit
def bias_of(bias, b, head, s, at, inside, S, C, BATCH: tl.constexpr, BY_HEADS: tl.constexpr, QUERIES: tl.constexpr,
            KEYS: tl.constexpr, HEADS: tl.constexpr):  # fmt: skip
    """What a bias adds to the scores [R, N] of queries s of heads and keys at places `at`, of which some are `inside`.

    It lies as [batch, HEADS, S, C], each axis there or of length 1. One of bool hides a key where it is false.
    """
    row = b * BATCH
    row = row * HEADS + head if BY_HEADS else row
    row = row * S + s if QUERIES else row + s * 0
    places = row.to(tl.int64)[:, None] * C + at[None, :] if KEYS else row.to(tl.int64)[:, None] + at[None, :] * 0
    found = tl.load(bias + places, mask=inside, other=0)
    # One return: Triton compiles what stands behind a return, though it is never reached.
    if bias.dtype.element_ty == tl.int1:
        added = tl.where(found, 0.0, float("-inf"))
    else:
        added = found.to(tl.float32) * 1.4426950408889634
    return added


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
    bias,
    key_positions,
    key_scale,
    value_scale,
    partial,
    S,
    C,
    POSITION_ROWS: tl.constexpr,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    VALUE_SIZE: tl.constexpr,
    KEY_SHARE: tl.constexpr,
    VALUE_SHARE: tl.constexpr,
    BIAS_BATCH: tl.constexpr,
    BIAS_HEADS: tl.constexpr,
    BIAS_QUERIES: tl.constexpr,
    BIAS_KEYS: tl.constexpr,
    KEY_POSITION_ROWS: tl.constexpr,
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
    length = C
    if key_length is not None:
        length = tl.load(key_length + b).to(tl.int32)
    asked = tl.load(positions + tl.where(POSITION_ROWS == 1, 0, b) * S + s, mask=there, other=0).to(tl.int32)
    per = (length + SPLITS - 1) // SPLITS
    begin = piece * per
    end = tl.minimum(begin + per, length)
    row = ((b * HEADS + head) * S + s).to(tl.int64)
    qs = tl.load(q + row[:, None] * SIZE + d[None, :], mask=there[:, None] & (d < SIZE)[None, :], other=0.0)
    qs = qs.to(tl.float32) * SCALE
    if KEY_SHARE is not None:
        qs *= factors(key_scale, h, d, SIZE, KEY_SHARE)[None, :]
    dtype: tl.constexpr = q.dtype.element_ty
    qs = qs.to(dtype)
    kv = (b * KV_HEADS + h).to(tl.int64)
    acc = tl.zeros((ROWS, VALUE_PADDED), tl.float32)
    largest = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    for c0 in range(begin, end, BC):
        at = c0 + tl.arange(0, BC)
        stands, seen = at, at < end
        if key_positions is not None:
            stands = tl.load(key_positions + tl.where(KEY_POSITION_ROWS == 1, 0, b) * C + at, mask=seen, other=-1)
            stands = stands.to(tl.int32)
            seen = stands >= 0
        ks = held(key_cache, key_scale, kv, at, seen, d, C, SIZE, KEY_SHARE, dtype)
        added = None
        if bias is not None:
            added = bias_of(bias, b, head, s, at, there[:, None] & seen[None, :], S, C, BIAS_BATCH, BIAS_HEADS,
                            BIAS_QUERIES, BIAS_KEYS, HEADS)  # fmt: skip
        scores = scores_of(qs, ks, asked, stands, seen, added, MASK, WINDOW, SOFTCAP, EMULATED)
        vs = held(value_cache, value_scale, kv, at, seen, e, C, VALUE_SIZE, VALUE_SHARE, dtype)
        acc, largest, total = go_on(acc, largest, total, scores, vs, EMULATED)
    if VALUE_SHARE is not None:
        acc *= factors(value_scale, h, e, VALUE_SIZE, VALUE_SHARE)[None, :]
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
    bias,
    sinks,
    key_positions,
    key_scale,
    value_scale,
    y,
    S,
    C,
    POSITION_ROWS: tl.constexpr,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    VALUE_SIZE: tl.constexpr,
    KEY_SHARE: tl.constexpr,
    VALUE_SHARE: tl.constexpr,
    BIAS_BATCH: tl.constexpr,
    BIAS_HEADS: tl.constexpr,
    BIAS_QUERIES: tl.constexpr,
    BIAS_KEYS: tl.constexpr,
    KEY_POSITION_ROWS: tl.constexpr,
    RING: tl.constexpr,
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
    Dao 2023). Keys that no query of the tile sees are not read: positions of a row ascend. Where RING is not 0 the
    first RING keys are a ring of what was before, and the queries' own follow.
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
    asked = tl.load(positions + row + s, mask=s < S, other=0).to(tl.int32)
    begin, end = 0, C
    if key_length is not None:
        end = tl.load(key_length + b).to(tl.int32)
    if key_positions is None and MASK != "full":
        length = end
        end = tl.minimum(length, tl.max(asked, 0) + 1)
        first = tl.load(positions + row + tile * BS).to(tl.int32)
        if MASK == "prefix":
            end = tl.maximum(end, tl.minimum(length, WINDOW))
        if MASK == "sliding":
            begin = tl.maximum(first - WINDOW + 1, 0) // BC * BC
        if MASK == "chunked":
            begin = first // WINDOW * WINDOW // BC * BC
    if RING > 0 and (MASK == "causal" or MASK == "sliding"):
        end = tl.minimum(C, RING + (tile + 1) * BS)
        if MASK == "sliding":
            # From here on a window holds none of the ring, whose keys all stand before the first query.
            begin = tl.where(tile * BS >= WINDOW - 1, (RING + tile * BS - WINDOW + 1) // BC * BC, 0)
    queries = q + (b * HEADS + h).to(tl.int64) * S * SIZE
    qs = tl.load(queries + s[:, None] * SIZE + d[None, :], mask=(s < S)[:, None] & (d < SIZE)[None, :], other=0.0)
    qs = qs.to(tl.float32) * SCALE
    if KEY_SHARE is not None:
        qs *= factors(key_scale, h // (HEADS // KV_HEADS), d, SIZE, KEY_SHARE)[None, :]
    dtype: tl.constexpr = q.dtype.element_ty
    qs = qs.to(dtype)
    kv = (b * KV_HEADS + h // (HEADS // KV_HEADS)).to(tl.int64)
    acc = tl.zeros((BS, VALUE_PADDED), tl.float32)
    largest = tl.full((BS,), float("-inf"), tl.float32)
    total = tl.zeros((BS,), tl.float32)
    for c0 in range(begin, end, BC):
        at = c0 + tl.arange(0, BC)
        stands, seen = at, at < end
        if key_positions is not None:
            stands = tl.load(key_positions + tl.where(KEY_POSITION_ROWS == 1, 0, b) * C + at, mask=seen, other=-1)
            stands = stands.to(tl.int32)
            seen = stands >= 0
        ks = held(key_cache, key_scale, kv, at, seen, d, C, SIZE, KEY_SHARE, dtype)
        added = None
        if bias is not None:
            added = bias_of(bias, b, h, s, at, (s < S)[:, None] & seen[None, :], S, C, BIAS_BATCH, BIAS_HEADS,
                            BIAS_QUERIES, BIAS_KEYS, HEADS)  # fmt: skip
        scores = scores_of(qs, ks, asked, stands, seen, added, MASK, WINDOW, SOFTCAP, EMULATED)
        vs = held(value_cache, value_scale, kv, at, seen, e, C, VALUE_SIZE, VALUE_SHARE, dtype)
        acc, largest, total = go_on(acc, largest, total, scores, vs, EMULATED)
    if sinks is not None:
        # One more score of no value.
        sink = tl.load(sinks + h).to(tl.float32) * 1.4426950408889634
        most = tl.maximum(largest, sink)
        base = tl.where(most == float("-inf"), 0.0, most)
        kept = tl.exp2(largest - base)
        acc *= kept[:, None]
        total = total * kept + tl.exp2(sink - base)
    result = acc / tl.where(total == 0.0, 1.0, total)[:, None]
    if VALUE_SHARE is not None:
        result *= factors(value_scale, h // (HEADS // KV_HEADS), e, VALUE_SIZE, VALUE_SHARE)[None, :]
    out = y + ((b * S + s[:, None]).to(tl.int64) * HEADS + h) * VALUE_SIZE + e[None, :]
    tl.store(out, result.to(y.dtype.element_ty), mask=(s < S)[:, None] & (e < VALUE_SIZE)[None, :])
