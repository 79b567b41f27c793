# pyright: basic
# Triton compiles or interprets these functions; their parameters have the types that a launch gives them.
"""Attention over pieces of the context by a packed projection's row, whose keys and values go into the caches."""

from __future__ import annotations

import triton
import triton.language as tl

from graphwright.backends.cuda.kernels.attention import go_on, scores_of
from graphwright.backends.cuda.kernels.cached import encoded, factors, held, token_scales
from graphwright.backends.cuda.kernels.common import start_next, wait_for_previous
from graphwright.backends.cuda.kernels.rotary import turned


@triton.jit
def append_attention(
    packed,
    key_cache,
    value_cache,
    past_length,
    positions,
    key_length,
    cos,
    sin,
    key_scale,
    value_scale,
    partial,
    S,
    C,
    POSITION_ROWS: tl.constexpr,
    TABLE_ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    VALUE_SIZE: tl.constexpr,
    KEY_SHARE: tl.constexpr,
    VALUE_SHARE: tl.constexpr,
    QUERY: tl.constexpr,
    KEY: tl.constexpr,
    VALUE: tl.constexpr,
    PAIRS: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    SPLITS: tl.constexpr,
    SCALE: tl.constexpr,
    MASK: tl.constexpr,
    WINDOW: tl.constexpr,
    SOFTCAP: tl.constexpr,
    ROWS: tl.constexpr,
    BC: tl.constexpr,
    NEW: tl.constexpr,
    PADDED: tl.constexpr,
    VALUE_PADDED: tl.constexpr,
    PDL: tl.constexpr,
    EMULATED: tl.constexpr,
):
    """`cuda.append_attention`: programs are (row of the batch, head of keys, piece), pieces fastest.

    packed [batch, S, COLUMNS], caches [batch, KV_HEADS, C, size], cos and sin f32 [batch or 1, S, PAIRS], partial f32
    [batch, HEADS, SPLITS, S, VALUE_SIZE + 2]. Nothing is turned where PAIRS is 0. The program whose piece a new token
    is in writes it to the caches and has it in registers: nobody reads what another one writes. The last piece writes
    tokens behind the length too; a token behind the capacity is not kept, and not seen. With scales the caches hold
    codes: see `cached`. Scales of tokens are f32 [batch, KV_HEADS, C, 1].
    """
    start_next(PDL)
    wait_for_previous(PDL)
    place = tl.program_id(0)
    piece = place % SPLITS
    h = place // SPLITS % KV_HEADS
    b = place // SPLITS // KV_HEADS
    group: tl.constexpr = HEADS // KV_HEADS
    r = tl.arange(0, ROWS)
    there = r < group * S
    head = tl.where(there, h * group + r // S, 0)
    s = r % S
    d = tl.arange(0, PADDED)
    e = tl.arange(0, VALUE_PADDED)
    length = tl.minimum(tl.load(key_length + b), C).to(tl.int32)
    past = tl.load(past_length + b).to(tl.int32)
    asked = tl.load(positions + tl.where(POSITION_ROWS == 1, 0, b) * S + s, mask=there, other=0).to(tl.int32)
    per = tl.maximum((tl.load(key_length + b).to(tl.int32) + SPLITS - 1) // SPLITS, 1)
    begin = tl.minimum(piece * per, length)
    end = tl.minimum(begin + per, length)
    # The queries.
    token = b * S + s
    row = packed + token[:, None].to(tl.int64) * COLUMNS + QUERY + head[:, None] * SIZE
    qs = tl.load(row + d[None, :], mask=(d < SIZE)[None, :], other=0.0)
    if PAIRS > 0:
        table = tl.where(TABLE_ROWS == 1, s, token)[:, None] * PAIRS
        qs = turned(row, d[None, :], qs, cos + table, sin + table, PAIRS, INTERLEAVED)
    qs = qs.to(tl.float32) * SCALE
    key_factors, value_factors = 1.0, 1.0
    if KEY_SHARE is not None:
        key_factors = factors(key_scale, h, d, SIZE, KEY_SHARE)
        qs *= key_factors[None, :]
    if VALUE_SHARE is not None:
        value_factors = factors(value_scale, h, e, VALUE_SIZE, VALUE_SHARE)
    dtype: tl.constexpr = packed.dtype.element_ty
    qs = qs.to(dtype)
    kv = (b * KV_HEADS + h).to(tl.int64)
    keys, values = key_cache + kv * C * SIZE, value_cache + kv * C * VALUE_SIZE
    acc = tl.zeros((ROWS, VALUE_PADDED), tl.float32)
    largest = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    # Those before, in the caches.
    known = tl.minimum(end, past)
    for c0 in range(begin, known, BC):
        at = c0 + tl.arange(0, BC)
        old = at < known
        ks = held(key_cache, key_scale, kv, at, old, d, C, SIZE, KEY_SHARE, dtype)
        scores = scores_of(qs, ks, asked, at, old, None, MASK, WINDOW, SOFTCAP, EMULATED)
        vs = held(value_cache, value_scale, kv, at, old, e, C, VALUE_SIZE, VALUE_SHARE, dtype)
        acc, largest, total = go_on(acc, largest, total, scores, vs, EMULATED)
    # The new ones of this piece.
    stop = tl.where(piece == SPLITS - 1, past + S, end)
    for c0 in range(tl.maximum(begin, past), stop, NEW):
        at = c0 + tl.arange(0, NEW)
        j = tl.minimum(at - past, S - 1)
        kept = ((at < stop) & (at < C))[:, None]
        own = packed + (b * S + j)[:, None].to(tl.int64) * COLUMNS
        ks = tl.load(own + KEY + h * SIZE + d[None, :], mask=(d < SIZE)[None, :], other=0.0)
        if PAIRS > 0:
            table = tl.where(TABLE_ROWS == 1, j, b * S + j)[:, None] * PAIRS
            ks = turned(own + KEY + h * SIZE, d[None, :], ks, cos + table, sin + table, PAIRS, INTERLEAVED)
        vs = tl.load(own + VALUE + h * VALUE_SIZE + e[None, :], mask=(e < VALUE_SIZE)[None, :], other=0.0)
        # What others read of these tokens in later steps is what is read here.
        if KEY_SHARE is not None:
            ks = encoded(ks, key_factors[None, :])
        if VALUE_SHARE == "token":
            fitted = token_scales(vs)
            vs = encoded(vs, fitted[:, None])
            tl.store(value_scale + kv * C + at, fitted, mask=(at < stop) & (at < C))
        elif VALUE_SHARE is not None:
            vs = encoded(vs, value_factors[None, :])
        tl.store(keys + at[:, None] * SIZE + d[None, :], ks, mask=kept & (d < SIZE)[None, :])
        tl.store(values + at[:, None] * VALUE_SIZE + e[None, :], vs, mask=kept & (e < VALUE_SIZE)[None, :])
        if VALUE_SHARE == "token":
            vs = vs.to(tl.float32) * fitted[:, None]
        scores = scores_of(qs, ks.to(dtype), asked, at, at < end, None, MASK, WINDOW, SOFTCAP, EMULATED)
        acc, largest, total = go_on(acc, largest, total, scores, vs.to(dtype), EMULATED)
    if VALUE_SHARE is not None:
        acc *= value_factors[None, :]
    out = partial + (((b * HEADS + head) * SPLITS + piece) * S + s).to(tl.int64) * (VALUE_SIZE + 2)
    tl.store(out[:, None] + e[None, :], acc, mask=there[:, None] & (e < VALUE_SIZE)[None, :])
    tl.store(out + VALUE_SIZE, largest, mask=there)
    tl.store(out + VALUE_SIZE + 1, total, mask=there)
