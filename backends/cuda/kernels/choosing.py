# pyright: basic, reportGeneralTypeIssues=false, reportArgumentType=false, reportOperatorIssue=false
# Triton compiles or interprets these functions; their parameters have the types that a launch gives them.
"""The next token: the likeliest, or drawn by a number that is a function of a key and its place.

A program has a row of logits and goes over it several times: it stays in the cache. Logits less the largest, over the
temperature, are at most 0: their bits without the sign are a *distance* that orders them, as an unsigned integer, from
the likeliest on. What filters keep is a distance `last` and how many `equals` there are of tokens that are just so far,
lower places first; all nearer ones are kept.
"""

from __future__ import annotations

import triton
import triton.language as tl

from graphwright.backends.cuda.kernels.common import start_next, wait_for_previous


@triton.jit
def uniform(key, place):
    """A number in [0, 1), float64, of a key of two 64-bit words: numpy's `Generator(Philox(key, place)).random()`."""
    key_0 = tl.load(key).to(tl.uint64, bitcast=True)
    key_1 = tl.load(key + 1).to(tl.uint64, bitcast=True)
    # numpy counts up before it takes a number.
    c0 = (place + 1).to(tl.uint64, bitcast=True)
    c1 = c0 * 0
    c2 = c0 * 0
    c3 = c0 * 0
    multiplier_0 = c1 + 0xD2E7470EE14C6C93
    multiplier_1 = c1 + 0xCA5A826395121157
    for _ in range(10):
        high_0 = tl.umulhi(multiplier_0, c0)
        high_1 = tl.umulhi(multiplier_1, c2)
        low_0 = multiplier_0 * c0
        low_1 = multiplier_1 * c2
        c0 = high_1 ^ c1 ^ key_0
        c1 = low_1
        c2 = high_0 ^ c3 ^ key_1
        c3 = low_0
        key_0 += 0x9E3779B97F4A7C15
        key_1 += 0xBB67AE8584CAA73B
    return (c0 >> 11).to(tl.float64) * 1.1102230246251565e-16


@triton.jit
def largest_of(row, V: tl.constexpr, BLOCK: tl.constexpr):
    """The largest number of a row, the first place that has it, and whether it is finite and all are numbers."""
    c = tl.arange(0, BLOCK)
    most = tl.full((BLOCK,), float("-inf"), tl.float32)
    place = tl.zeros((BLOCK,), tl.int32)
    wrong = tl.zeros((BLOCK,), tl.int32)
    for c0 in range(0, V, BLOCK):
        at = c0 + c
        x = tl.load(row + at, mask=at < V, other=float("-inf"))
        wrong |= (x != x).to(tl.int32)
        # Of equal ones the first stays.
        place = tl.where(x > most, at, place)
        most = tl.maximum(most, x)
    largest = tl.max(most, 0)
    first = tl.min(tl.where(most == largest, place, V), 0)
    return largest, first, (tl.max(wrong, 0) == 0) & (tl.abs(largest) < float("inf"))


@triton.jit
def distances(row, at, largest, temperature, V: tl.constexpr):
    """Distances and weights exp(-distance) of the places `at`; those that are not there are farther than any."""
    x = tl.load(row + at, mask=at < V, other=float("-inf"))
    scaled = tl.div_rn(x - largest, temperature)
    far = scaled.to(tl.uint32, bitcast=True) & 0x7FFFFFFF
    return tl.where(at < V, far, 0xFFFFFFFF).to(tl.uint32), tl.exp(scaled)


@triton.jit
def weight_at(far):
    """The weight at a distance."""
    return tl.exp(-(far.to(tl.float32, bitcast=True)))


@triton.jit
def nearest(row, largest, temperature, last, equals, wanted, MASS: tl.constexpr, V: tl.constexpr, BLOCK: tl.constexpr):
    """The least distance up to which `wanted` tokens are, or with MASS so much weight, and what lies before it.

    Of tokens at `last` there are `equals`, behind it none. A digit of four bits is found in each pass.
    """
    c = tl.arange(0, BLOCK)
    digits = tl.arange(0, 16)
    found = last * 0
    before = wanted * 0
    one = last * 0 + (1 << 28)
    for _ in range(8):
        # The highest digit has three bits: the sign is none of a distance.
        highest = tl.where(one == (1 << 28), 7, 15)
        to = found + tl.minimum(digits, highest).to(tl.uint32) * one + (one - 1)
        sums = tl.where(to >= last, equals * (weight_at(last).to(tl.float64) if MASS else 1.0), wanted * 0)
        for c0 in range(0, V, BLOCK):
            far, weight = distances(row, c0 + c, largest, temperature, V)
            each = tl.where(far < last, weight if MASS else 1.0, 0.0)
            sums += tl.sum(tl.where(far[None, :] <= to[:, None], each[None, :], 0.0), 1).to(tl.float64)
        digit = tl.minimum(tl.sum((sums < wanted).to(tl.int32), 0), highest)
        before = tl.where(digit > 0, tl.sum(tl.where(digits == digit - 1, sums, 0.0), 0), before)
        found += digit.to(tl.uint32) * one
        one = one >> 4
    return found, before


@triton.jit
def kept_weights(row, at, largest, temperature, last, equals, least, seen, V: tl.constexpr):
    """The weights of the places `at` that filters keep, 0 of others; `seen` counts those at the last distance."""
    far, weight = distances(row, at, largest, temperature, V)
    just = (far == last).to(tl.int32)
    within = (far < last) | ((far == last) & (seen + tl.cumsum(just, 0) <= equals))
    return tl.where(within & (weight >= least), weight, 0.0), seen + tl.sum(just, 0)


@triton.jit
def drawn(row, largest, number, sampling, V: tl.constexpr, BLOCK: tl.constexpr):
    """The place in a row that a number in [0, 1) draws by temperature, top k, top p and min p."""
    temperature = tl.load(sampling)
    most = tl.load(sampling + 1)
    share = tl.load(sampling + 2)
    least = tl.load(sampling + 3)
    c = tl.arange(0, BLOCK)
    zero = number * 0.0
    # All are kept: the farthest are at infinity, where weights are 0.
    last = (largest * 0.0).to(tl.uint32) + 0x7F800000
    equals = zero + V
    if (most > 0) & (most < V):
        last, before = nearest(row, largest, temperature, last, equals, zero + most, False, V, BLOCK)
        equals = most - before
    if share < 1:
        total = equals * weight_at(last)
        for c0 in range(0, V, BLOCK):
            far, weight = distances(row, c0 + c, largest, temperature, V)
            total += tl.sum(tl.where(far < last, weight, 0.0), 0).to(tl.float64)
        wanted = total * share
        ended, before = nearest(row, largest, temperature, last, equals, wanted, True, V, BLOCK)
        count = tl.maximum(1.0, tl.ceil((wanted - before) / weight_at(ended).to(tl.float64)))
        equals = tl.where(ended == last, tl.minimum(count, equals), count)
        last = ended
    total = zero
    seen = (largest * 0.0).to(tl.int32)
    for c0 in range(0, V, BLOCK):
        weight, seen = kept_weights(row, c0 + c, largest, temperature, last, equals, least, seen, V)
        total += tl.sum(weight, 0).to(tl.float64)
    # The block in which the sum exceeds what is aimed at, and what comes before it.
    aim = total * number
    seen = (largest * 0.0).to(tl.int32)
    sum = zero
    block = seen
    before = zero
    seen_before = seen
    for c0 in range(0, V, BLOCK):
        weight, after = kept_weights(row, c0 + c, largest, temperature, last, equals, least, seen, V)
        some = tl.sum(weight, 0)
        here = (sum <= aim) & (some > 0)
        block = tl.where(here, c0, block)
        before = tl.where(here, sum, before)
        seen_before = tl.where(here, seen, seen_before)
        sum += some.to(tl.float64)
        seen = after
    weight, seen = kept_weights(row, block + c, largest, temperature, last, equals, least, seen_before, V)
    running = tl.cumsum(weight.to(tl.float64), 0)
    end = tl.max(running, 0)
    # Rounding may carry the aim up to the end: never to a token of weight 0.
    place = tl.minimum(tl.sum((running <= aim - before).to(tl.int32), 0), tl.sum((running < end).to(tl.int32), 0))
    return block + place


@triton.jit
def choose_tokens(
    logits,
    past_length,
    logit_positions,
    sampling,
    sampling_key,
    y,
    N,
    V: tl.constexpr,
    BLOCK: tl.constexpr,
    DRAWN: tl.constexpr,
    PDL: tl.constexpr,
):
    """`cuda.choose_tokens`: y [rows, N] of logits [rows, N, V], one of them a program.

    BLOCK logits are looked at at a time to find the largest, DRAWN to draw.
    """
    start_next(PDL)
    wait_for_previous(PDL)
    place = tl.program_id(0).to(tl.int64)
    row = place // N
    here = logits + place * V
    largest, token, right = largest_of(here, V, BLOCK)
    if right & (tl.load(sampling + row * 4) > 0):
        at = tl.load(past_length + row) + tl.load(logit_positions + place) + 1
        token = drawn(here, largest, uniform(sampling_key + row * 2, at), sampling + row * 4, V, DRAWN)
    tl.store(y + place, tl.where(right, token, -1).to(tl.int64))


@triton.jit
def next_length(past_length, new_length, tokens, y, PDL: tl.constexpr):
    """`cuda.next_length`, a row a program. It waits for the tokens, and does not read them."""
    start_next(PDL)
    wait_for_previous(PDL)
    row = tl.program_id(0)
    tl.store(y + row, tl.load(past_length + row) + tl.load(new_length + row))
