# pyright: basic
# Triton compiles or interprets these functions; their parameters have the types that a launch gives them.
"""Tables of rotary embedding, and a packed projection's rows to turned queries and into the caches."""

from __future__ import annotations

import triton
import triton.language as tl

from graphwright.backends.cuda.kernels.cached import encoded, factors, token_scales
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
def turned(row, i, x, cos, sin, PAIRS: tl.constexpr, INTERLEAVED: tl.constexpr):
    """The numbers x at places i of a head, which begins at `row`, turned by a token's cosines and sines."""
    pair = i // 2 if INTERLEAVED else i % PAIRS
    first = i % 2 == 0 if INTERLEAVED else i < PAIRS
    step = 1 if INTERLEAVED else PAIRS
    inside = i < 2 * PAIRS
    other = tl.load(row + tl.where(first, i + step, i - step), mask=inside, other=0.0).to(tl.float32)
    c = tl.load(cos + pair, mask=inside, other=1.0)
    s = tl.load(sin + pair, mask=inside, other=0.0)
    return (x.to(tl.float32) * c + tl.where(first, -other, other) * s).to(x.dtype)


@triton.jit
def rotary_embedding(
    x,
    cos,
    sin,
    y,
    S,
    TABLE_ROWS: tl.constexpr,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    PAIRS: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    PADDED: tl.constexpr,
    PDL: tl.constexpr,
):
    """`cuda.rotary_embedding` of x [batch, HEADS, S, SIZE], a token of a head a program."""
    start_next(PDL)
    wait_for_previous(PDL)
    place = tl.program_id(0)
    token = place % S if TABLE_ROWS == 1 else place // S // HEADS * S + place % S
    i = tl.arange(0, PADDED)
    row = x + place.to(tl.int64) * SIZE
    numbers = tl.load(row + i, mask=i < SIZE, other=0.0)
    result = turned(row, i, numbers, cos + token * PAIRS, sin + token * PAIRS, PAIRS, INTERLEAVED)
    tl.store(y + place.to(tl.int64) * SIZE + i, result, mask=i < SIZE)


@triton.jit
def rotary_append(
    packed,
    key_cache,
    value_cache,
    past_length,
    cos,
    sin,
    key_scale,
    value_scale,
    queries,
    S,
    C,
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
    PADDED: tl.constexpr,
    PDL: tl.constexpr,
):
    """`cuda.rotary_append`, a head of a token a program: batch * S * (HEADS + 2 * KV_HEADS) of them, heads fastest.

    packed [batch, S, COLUMNS]; caches [batch, KV_HEADS, C, size]; queries [batch, HEADS, S, SIZE]. cos and sin are f32
    [batch or 1, S, PAIRS], and nothing is turned where PAIRS is 0. A token behind the capacity is not kept. With scales
    the caches hold codes: see `cached`. Scales of tokens are f32 [batch, KV_HEADS, C, 1].
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
        start = QUERY + head * SIZE if head < HEADS else KEY + (head - HEADS) * SIZE
        inside = i < SIZE
        x = tl.load(row + start + i, mask=inside, other=0.0)
        table = (s if TABLE_ROWS == 1 else token) * PAIRS
        x = turned(row + start, i, x, cos + table, sin + table, PAIRS, INTERLEAVED) if PAIRS > 0 else x
        if head < HEADS:
            tl.store(queries + ((b * HEADS + head) * S + s).to(tl.int64) * SIZE + i, x, mask=inside)
        else:
            h = head - HEADS
            if KEY_SHARE is not None:
                x = encoded(x, factors(key_scale, h, i, SIZE, KEY_SHARE))
            kept = ((b * KV_HEADS + h).to(tl.int64) * C + at) * SIZE
            tl.store(key_cache + kept + i, x, mask=inside & room)
    else:
        h = head - HEADS - KV_HEADS
        inside = i < VALUE_SIZE
        x = tl.load(row + VALUE + h * VALUE_SIZE + i, mask=inside, other=0.0)
        kept = (b * KV_HEADS + h).to(tl.int64) * C + at
        if VALUE_SHARE == "token":
            fitted = token_scales(x[None, :])
            tl.store(value_scale + kept + tl.arange(0, 1), fitted, mask=at + tl.arange(0, 1) < C)
            x = encoded(x, fitted)
        elif VALUE_SHARE is not None:
            x = encoded(x, factors(value_scale, h, i, VALUE_SIZE, VALUE_SHARE))
        tl.store(value_cache + kept * VALUE_SIZE + i, x, mask=inside & room)
