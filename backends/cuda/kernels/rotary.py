"""Tables of rotary embedding, and a packed projection's rows to turned queries and into the caches."""

from __future__ import annotations

import triton
import triton.language as tl

from graphwright.backends.cuda.kernels.common import start_next, wait_for_previous


@triton.jit
def rotary_table(
    positions, frequencies, cos, sin, SCALE: tl.constexpr, PAIRS: tl.constexpr, PADDED: tl.constexpr, PDL: tl.constexpr
):
    """`cuda.rotary_table`, a token a program: cos and sin f32 [tokens, PAIRS]. PADDED: the next power of two."""
    start_next(PDL)
    token = tl.program_id(0)
    i = tl.arange(0, PADDED)
    turns = tl.load(frequencies + i, mask=i < PAIRS, other=0.0)
    wait_for_previous(PDL)
    angle = tl.load(positions + token).to(tl.float32) * turns
    tl.store(cos + token * PAIRS + i, tl.cos(angle) * SCALE, mask=i < PAIRS)
    tl.store(sin + token * PAIRS + i, tl.sin(angle) * SCALE, mask=i < PAIRS)


@triton.jit
def rotary_append(
    packed,
    key_cache,
    value_cache,
    past_length,
    cos,
    sin,
    queries,
    S,
    C,
    TABLE_ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    VALUE_SIZE: tl.constexpr,
    QUERY: tl.constexpr,
    KEY: tl.constexpr,
    VALUE: tl.constexpr,
    PAIRS: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    PADDED: tl.constexpr,
    PDL: tl.constexpr,
):
    """`cuda.rotary_append`, a head of a token a program: batch * S * (HEADS + 2 * KV_HEADS) of them, heads fastest.

    packed [batch, S, COLUMNS]; caches [batch, KV_HEADS, C, size]; queries [batch, HEADS, S, SIZE]. cos and sin are f32
    [batch or 1, S, PAIRS], and nothing is turned where PAIRS is 0. A token behind the capacity is not kept.
    """
    start_next(PDL)
    wait_for_previous(PDL)
    place = tl.program_id(0)
    head = place % (HEADS + 2 * KV_HEADS)
    token = place // (HEADS + 2 * KV_HEADS)
    b = token // S
    s = token % S
    i = tl.arange(0, PADDED)
    row = packed + token.to(tl.int64) * COLUMNS
    at = tl.load(past_length + b) + s
    # As a block: the interpreter takes no mask made of a scalar.
    room = at + tl.zeros((PADDED,), tl.int64) < C
    if head < HEADS + KV_HEADS:
        if head < HEADS:
            start = QUERY + head * SIZE
        else:
            start = KEY + (head - HEADS) * SIZE
        inside = i < SIZE
        x = tl.load(row + start + i, mask=inside, other=0.0)
        if PAIRS > 0:
            if INTERLEAVED:
                pair, first = i // 2, i % 2 == 0
                partner = tl.where(first, i + 1, i - 1)
            else:
                pair, first = i % PAIRS, i < PAIRS
                partner = tl.where(first, i + PAIRS, i - PAIRS)
            turned = i < 2 * PAIRS
            table = tl.where(TABLE_ROWS == 1, s, token) * PAIRS + pair
            c = tl.load(cos + table, mask=turned, other=1.0)
            d = tl.load(sin + table, mask=turned, other=0.0)
            other = tl.load(row + start + partner, mask=turned, other=0.0).to(tl.float32)
            x = (x.to(tl.float32) * c + tl.where(first, -other, other) * d).to(packed.dtype.element_ty)
        if head < HEADS:
            tl.store(queries + ((b * HEADS + head) * S + s).to(tl.int64) * SIZE + i, x, mask=inside)
        else:
            kept = ((b * KV_HEADS + head - HEADS).to(tl.int64) * C + at) * SIZE
            tl.store(key_cache + kept + i, x, mask=inside & room)
    else:
        h = head - HEADS - KV_HEADS
        inside = i < VALUE_SIZE
        x = tl.load(row + VALUE + h * VALUE_SIZE + i, mask=inside, other=0.0)
        kept = ((b * KV_HEADS + h).to(tl.int64) * C + at) * VALUE_SIZE
        tl.store(value_cache + kept + i, x, mask=inside & room)
