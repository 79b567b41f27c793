"""Tokens rounded to int8 for integer products, exactly as `fake_quantize(to=i8)` does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import add
from typing import Any

from graphwright.backends.tvm.kernels.script import iteration, lanes, local, shared, spread, store, when
from graphwright.backends.tvm.kernels.tiles import Spans
from graphwright.backends.tvm.tvm_library import T, builder

CACHE_LINE = 64

LARGEST = 3.4028234663852886e38
"""The largest float32."""

SHIFT = 1.5 * 2.0**23
"""Added to a number of less than 2^22, this leaves the nearest integer, ties to even, in the last bits."""

SHIFT_BITS = 0x4B400000
"""The bits of SHIFT as a float32."""


@dataclass(frozen=True)
class RoundedTokens:
    """What the products of rounded tokens read, a row a token.

    words i32[rows, stride], four codes each, in which codes past the end are 0; scales f32[rows, token_groups]; and
    sums i32[rows, spans], the sum of each span's codes; where the weight has neither zero points nor minimums
    times minus the origin of its codes, from which these count, so that products start there.
    """

    words: Any
    scales: Any
    sums: Any


def words_of(spans: Spans) -> int:
    """The length of a row of words: whole cache lines, and an odd number of them.

    Products read many rows at the same place, which must not all fall into the same few lines of a cache.
    """
    lines = -(-spans.weight.inner // CACHE_LINE)
    return (lines | 1) * CACHE_LINE // 4


def round_tokens(x: Any, tokens: Any, rows: Any, spans: Spans, long: int) -> RoundedTokens:
    """The stage that rounds x f32[tokens, inner] into new buffers of so many rows.

    From `long` numbers on one token is worth rounding on several threads.
    """
    words = shared("words", (rows, words_of(spans)), "int32")
    scales = shared("token_scales", (rows, spans.token_groups), "float32")
    sums = shared("code_sums", (rows, spans.count), "int32")
    rounded = RoundedTokens(words, scales, sums)
    count = tokens * spans.token_groups
    # One short row is rounded before other threads would have woken up.
    serial = isinstance(tokens, int) and tokens == 1 and spans.weight.inner < long
    loop = builder.serial(count) if serial else builder.parallel(count)
    with iteration("round", loop, count, [x], [words, scales, sums]) as number:
        token, group = T.floordiv(number, spans.token_groups), T.floormod(number, spans.token_groups)
        _round_group(x, rounded, token, group, spans)
    return rounded


def _round_group(x: Any, rounded: RoundedTokens, token: Any, group: Any, spans: Spans) -> None:
    inner, width = spans.weight.inner, _width(spans)
    first_span = group * spans.spans_a_token_group
    span_count = T.min(spans.spans_a_token_group, spans.count - first_span)
    chunks, span_chunks = -(-inner // width), -(-spans.length // width)
    first = first_span * span_chunks
    largest = local("largest", (width,), "float32")
    numbers = local("numbers", (width,), "float32")
    scale = local("scale", (1,), "float32")
    total = local("total", (width,), "int32")
    every = lanes(0, width)
    store(largest, spread(T.float32(0), width), every)
    with builder.serial(T.min(spans.spans_a_token_group * span_chunks, chunks - first)) as chunk:
        _load(x, numbers, token, (first + chunk) * width, inner, width)
        size = T.max(numbers[every], spread(T.float32(0), width) - numbers[every])
        store(largest, T.max(largest[every], size), every)
    fold_lanes(largest, width, T.max)
    store(scale, T.min(largest[0] / T.float32(127), T.float32(LARGEST)), 0)
    with when(scale[0] == T.float32(0)):
        store(scale, T.float32(1), 0)
    store(rounded.scales, scale[0], token, group)
    with builder.serial(span_count) as span:
        store(total, spread(0, width), every)
        begin = (first_span + span) * span_chunks
        with builder.serial(T.min(span_chunks, chunks - begin)) as chunk:
            _load(x, numbers, token, (begin + chunk) * width, inner, width)
            codes = _nearest(numbers[every] / spread(scale[0], width), width)
            place = (begin + chunk) * (width // 4)
            place = lanes(place, width // 4) if width > 4 else place
            words = T.reinterpret(f"int32x{width // 4}" if width > 4 else "int32", T.Cast(f"int8x{width}", codes))
            store(rounded.words, words, token, place)
            store(total, total[every] + codes, every)
        fold_lanes(total, width, add)
        factor = 1 if spans.weight.has_offsets else -spans.weight.origin
        store(rounded.sums, total[0] * factor, token, first_span + span)


def _width(spans: Spans) -> int:
    """Numbers rounded at a time, so that spans have whole vectors. A row in one span may end anywhere."""
    if spans.count == 1:
        return 16
    return next(width for width in (16, 8, 4) if spans.length % width == 0)


def _load(x: Any, numbers: Any, token: Any, begin: Any, inner: int, width: int) -> None:
    """numbers = x[token, begin : begin + width], and 0 past the end."""
    every = lanes(0, width)
    if inner % width == 0:
        store(numbers, x[token, lanes(begin, width)], every)
        return
    with builder.If(begin + width <= inner):
        with builder.Then():
            store(numbers, x[token, lanes(begin, width)], every)
        with builder.Else():
            store(numbers, spread(T.float32(0), width), every)
            for place in range(inner % width):
                store(numbers, x[token, begin + place], place)


def _nearest(units: Any, width: int) -> Any:
    """The nearest of the codes -128 to 127 as i32."""
    inside = T.max(T.min(units, spread(T.float32(127), width)), spread(T.float32(-128), width))
    shifted = T.reinterpret(f"int32x{width}", inside + spread(T.float32(SHIFT), width))
    return shifted - spread(T.int32(SHIFT_BITS), width)


def fold_lanes(buffer: Any, width: int, combine: Callable[[Any, Any], Any]) -> None:
    """All of the buffer combined, into its first place."""
    while width > 2:
        width //= 2
        lower, upper = lanes(0, width), lanes(width, width)
        store(buffer, combine(buffer[lower], buffer[upper]), lower)
    store(buffer, combine(buffer[0], buffer[1]), 0)
