# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""Scores of few queries, with the heads of a group side by side in a vector: keys are read as they lie.

Lane r * parts + p of a sum is of head r, and of the elements of a key that are p modulo parts. A key's next elements
are read once for all heads, by a load that repeats them, and nothing is turned. As many keys as there are parts are
added up to one vector in the end, in an order that tiles of turned keys have too: see `added_up`.
"""

from __future__ import annotations

from operator import add
from types import SimpleNamespace
from typing import Any

from graphwright.backends.tvm.kernels.attention_ahead import NextBlock
from graphwright.backends.tvm.kernels.attention_form import BYTES, Tiling
from graphwright.backends.tvm.kernels.attention_operands import floats_of
from graphwright.backends.tvm.kernels.attention_query_bytes import QueryBytes, bare_codes
from graphwright.backends.tvm.kernels.fast_math import exp_of_negative, tanh
from graphwright.backends.tvm.kernels.tir import filled, larger, local_buffer, span
from graphwright.backends.tvm.tvm_library import T, tirx

MINUS_INFINITY = float("-inf")


def scratch_of_lanes(tiling: Tiling) -> dict[str, Any]:
    """What an item's scratch has besides, allocated in the block that is being written."""

    def local(element: str, *shape: int) -> Any:
        return local_buffer(*shape, element=element)

    form, lanes, tiles = tiling.form, tiling.lanes, tiling.row_tiles
    steps = tiling.lane_steps
    scratch: dict[str, Any] = {
        "laned": local("float32", tiles, tiling.keys // tiling.lane_keys, lanes),
        "totals": [local("float32", lanes) for _ in range(tiling.lane_rows)],
        "most": local("float32", lanes),
        "scales": local("float32", tiling.keys),
    }
    if tiling.by_bytes:
        scratch |= {
            "byte_rows": local("int32", tiles, BYTES, steps, lanes),
            "byte_starts": local("int32", tiles, BYTES, lanes),
            "units": local("float32", tiles, lanes),
            "codes": local("int8", lanes, form.head_size),
        }
    else:
        scratch |= {
            "lane_queries": local("float32", tiles, steps, lanes),
            "wide": local("float32", lanes if form.key_type != "float32" else 1, form.head_size),
        }
    return scratch


def added_up(sums: list[Any], parts: int) -> Any:
    """A vector of as many keys as there are parts, from one of each: lane r * parts + key is of that key and head r.

    Neighbouring parts are added first, then neighbouring pairs.
    """
    lanes = sums[0].ty.dtype.lanes
    stride = 1
    while len(sums) > 1:
        # In each run of `parts` lanes the first `stride * 2` go on to be of two keys.
        low = [_source(i, parts, stride, 0, lanes) for i in range(lanes)]
        high = [_source(i, parts, stride, stride, lanes) for i in range(lanes)]
        pairs = zip(sums[::2], sums[1::2], strict=True)
        sums = [T.Bind(tirx.Shuffle([a, b], low) + tirx.Shuffle([a, b], high)) for a, b in pairs]
        stride *= 2
    return sums[0]


def _source(lane: int, parts: int, stride: int, offset: int, lanes: int) -> int:
    """Which lane of two vectors goes to a lane of their sum.

    Before a step, lane p of a run holds key p % stride, and part p // stride of it; afterwards key p % (2 * stride).
    """
    row, place = divmod(lane, parts)
    key, part = place % (2 * stride), place // (2 * stride)
    second = key >= stride
    return row * parts + 2 * part * stride + offset + key % stride + (lanes if second else 0)


def lane_scores(tiling: Tiling, ahead: NextBlock | None) -> Any:
    """The statements take_queries, score and soften, and `weight(scratch, tile, row, key)`."""
    form, lanes, group, size = tiling.form, tiling.lanes, tiling.form.group, tiling.form.head_size
    parts, rows, steps, keys = tiling.lane_keys, tiling.lane_rows, tiling.lane_steps, tiling.keys
    by_bytes = tiling.by_bytes
    query_bytes = QueryBytes(tiling)
    at_once = lanes // 2 if by_bytes else lanes
    """Keys whose sums are in registers."""

    def times_scale(scaled: Any, key_scale: Any, head: Any, at: Any) -> Any:
        if form.key_scale == "tensor":
            return scaled * filled(key_scale[0], parts)
        return scaled * key_scale[head, at] if form.key_scale == "channel" else scaled

    def repeated(vector: Any) -> Any:
        """As many numbers as there are parts, for each row."""
        if parts == 1:
            return T.broadcast(vector, lanes)
        return tirx.Shuffle([vector] * (lanes // parts), list(range(lanes)))

    @T.inline
    def take_queries(operands: Any, item: Any, scratch: Any) -> None:
        """Each head's query, times the scales; lanes of no head are zero."""
        for t in range(item.count):
            for s in range(steps):
                scratch.lane_queries[t, s, span(0, lanes)] = filled(0.0, lanes)
                for r in T.unroll(group):
                    at = T.meta_var(span(s * parts, parts))
                    query = T.meta_var(operands.q[item.b, item.head * group + r, item.first + t, at])
                    scratch.lane_queries[t, s, span(r * parts, parts)] = times_scale(
                        query * filled(form.scale, parts), operands.key_scale, item.head, at
                    )

    @T.inline
    def take_bytes(operands: Any, item: Any, scratch: Any) -> None:
        """Each head's query as bytes, and what its sums begin with, as codes are read without a sign."""
        for t in range(item.count):
            for byte in T.unroll(BYTES):
                scratch.byte_starts[t, byte, span(0, lanes)] = T.broadcast(T.int32(0), lanes)
                for s in range(steps):
                    scratch.byte_rows[t, byte, s, span(0, lanes)] = T.broadcast(T.int32(0), lanes)
            scratch.units[t, span(0, lanes)] = filled(0.0, lanes)
            for r in range(group):
                query_bytes.take(operands, item, item.first + t, item.head * group + r, scratch)
                scratch.units[t, span(r * parts, parts)] = T.broadcast(scratch.number[0], parts)
                for byte in T.unroll(BYTES):
                    scratch.byte_starts[t, byte, r * parts] = scratch.offsets[byte]
                    for s in range(steps):
                        scratch.byte_rows[t, byte, s, span(r * parts, parts)] = scratch.bytes[
                            byte, span(s * parts, parts)
                        ]

    def key_at(first: Any, j: int, last: Any, clamped: bool) -> Any:
        return first + (T.min(j, last) if clamped else j)

    @T.inline
    def widen(k: Any, item: Any, first: Any, last: Any, clamped: bool, scratch: Any) -> None:
        """Keys from `first` on as floats, or as codes without a sign."""
        for j in T.unroll(at_once):
            key = T.meta_var(key_at(first, j, last, clamped))
            if by_bytes:
                for i in T.unroll(tiling.key_bytes // tiling.code_lanes):
                    bare_codes(tiling, k, (item.b, item.head, key), i * tiling.code_lanes, scratch.codes, j)
            else:
                for i in T.unroll(size // tiling.key_lanes):
                    start = T.meta_var(i * tiling.key_lanes)
                    scratch.wide[j, span(start, tiling.key_lanes)] = floats_of(
                        k, item.b, item.head, key, start, tiling.key_lanes
                    )

    def accumulators(count: int) -> list[Any]:
        element = "int32" if by_bytes else "float32"
        return [local_buffer(lanes, element=element) for _ in range(count)]

    whole = span(0, lanes)

    def clear(sums: list[Any], scratch: Any, t: Any) -> None:
        for i, each in enumerate(sums):
            start = scratch.byte_starts[t, i % BYTES, whole] if by_bytes else filled(0.0, lanes)
            T.buffer_store(each, start, [whole])

    def multiply_floats(
        k: Any, item: Any, sums: list[Any], first: Any, last: Any, clamped: bool, t: Any, s: Any, scratch: Any
    ) -> None:
        """A step of all keys."""
        query = T.Bind(scratch.lane_queries[t, s, whole])
        at = span(s * parts, parts)
        for j, sum in enumerate(sums):
            if form.key_type == "float32":
                element = k[item.b, item.head, key_at(first, j, last, clamped), at]
            else:
                element = scratch.wide[j, at]
            T.buffer_store(sum, sum[whole] + query * repeated(element), [whole])

    def multiply_bytes(sums: list[Any], t: Any, s: Any, scratch: Any) -> None:
        """A step of all keys, four codes a lane."""
        queries = [T.Bind(T.reinterpret("int8x64", scratch.byte_rows[t, byte, s, whole])) for byte in range(BYTES)]
        words = f"int32x{parts}" if parts > 1 else "int32"
        for j in range(at_once):
            codes = T.reinterpret(words, scratch.codes[j, span(s * parts * 4, parts * 4)])
            codes = T.Bind(T.reinterpret("int8x64", repeated(codes)))
            for byte, query in enumerate(queries):
                sum, name = sums[j * BYTES + byte], "llvm.x86.avx512.vpdpbusd.512"
                T.buffer_store(sum, T.call_llvm_pure_intrin("int32x16", name, sum[whole], codes, query), [whole])

    def store_scores(sums: list[Any], scratch: Any, t: Any, column: Any) -> None:
        """Vectors of as many keys as there are parts."""
        for i in range(at_once // parts):
            of_keys = range(i * parts, (i + 1) * parts)
            if by_bytes:
                low, high = [], []
                for j in of_keys:
                    *lower, upper = (sums[j * BYTES + byte][whole] for byte in range(BYTES))
                    low.append(T.Bind(QueryBytes.low(*lower)))
                    high.append(T.Bind(upper))
                score = QueryBytes.joined(added_up(low, parts), added_up(high, parts)) * scratch.units[t, whole]
            else:
                score = added_up([T.Bind(sums[j][whole]) for j in of_keys], parts)
            T.buffer_store(scratch.laned, score, [t, column // parts + i, whole])

    def ask(k: Any, item: Any, scratch: Any, t: Any, column: Any, s: Any) -> None:
        if ahead is not None:
            step = (column // at_once * tiling.row_tiles + t) * steps + s
            ahead.meeting(k, item, scratch.next_key[0], step, keys // at_once * tiling.row_tiles * steps)

    @T.inline
    def score_some(operands: Any, item: Any, first: Any, column: Any, last: Any, clamped: bool, scratch: Any) -> None:
        if by_bytes or form.key_type != "float32":
            widen(operands.k, item, first + column, last - column, clamped, scratch)
        for t in range(item.count):
            sums = T.meta_var(accumulators(at_once * (BYTES if by_bytes else 1)))
            clear(sums, scratch, t)
            for s in range(steps):
                ask(operands.k, item, scratch, t, column, s)
                if by_bytes:
                    multiply_bytes(sums, t, s, scratch)
                else:
                    multiply_floats(operands.k, item, sums, first + column, last - column, clamped, t, s, scratch)
            store_scores(sums, scratch, t, column)

    @T.inline
    def score(operands: Any, item: Any, first: Any, count: Any, scratch: Any) -> None:
        """Products of all rows with a block's keys. Beyond the last one there may be no memory: it is repeated."""
        for c in range((count + at_once - 1) // at_once):
            if first + (c + 1) * at_once <= operands.capacity:
                score_some(operands, item, first, c * at_once, count - 1, False, scratch)
            else:
                score_some(operands, item, first, c * at_once, count - 1, True, scratch)
        # What a step through all lanes reads besides.
        if by_bytes:
            for c in range((count + at_once - 1) // at_once * at_once // parts, (count + lanes - 1) // lanes * rows):
                for t in range(item.count):
                    scratch.laned[t, c, whole] = filled(0.0, lanes)

    def places(v: Any) -> Any:
        """Which keys of the block are in the lanes of a vector of scores."""
        first = T.Cast("int32", v) * parts
        return T.broadcast(first, lanes) + repeated(T.int32(0) if parts == 1 else T.ramp(T.int32(0), 1, parts))

    def across(vector: Any, of: Any, strides: list[int]) -> None:
        """Each row's keys to one number, in all of its lanes."""
        for stride in strides:
            other = tirx.Shuffle([vector[whole]], [i ^ stride for i in range(lanes)])
            # The lower one is added to.
            T.buffer_store(vector, of(vector[whole], other), [whole])

    def halves() -> list[int]:
        return [parts >> i for i in range(1, parts.bit_length())]

    def added_totals(scratch: Any) -> None:
        """In the order of `folded`: key j is at lane j % parts of total j // parts."""
        totals = [each[whole] for each in scratch.totals]
        while len(totals) > 1:
            half = len(totals) // 2
            totals = [T.Bind(a + b) for a, b in zip(totals[:half], totals[half:], strict=True)]
        T.buffer_store(scratch.totals[0], totals[0], [whole])
        across(scratch.totals[0], add, halves())

    def clear_totals(scratch: Any) -> None:
        for total in scratch.totals:
            T.buffer_store(total, filled(0.0, lanes), [whole])

    def take_powers(scratch: Any, t: Any, first: Any) -> None:
        """Of as many keys as there are lanes: each vector's weights go to a total of its own."""
        for i, total in enumerate(scratch.totals):
            place = [t, first + i, whole]
            power = T.Bind(exp_of_negative(tiling.cpu, scratch.laned[t, first + i, whole] - scratch.most[whole]))
            T.buffer_store(scratch.laned, power, place)
            T.buffer_store(total, total[whole] + power, [whole])

    @T.inline
    def soften(first: Any, count: Any, item: Any, scratch: Any) -> None:
        """Scores to weights against the largest score of the block."""
        for t in range(item.count):
            vectors = T.meta_var((count + lanes - 1) // lanes * rows)
            low = T.meta_var(scratch.low[t * group])
            end = T.meta_var(scratch.end[t * group])
            if form.softcap > 0:
                for v in range(vectors):
                    cap = T.meta_var(filled(form.softcap, lanes))
                    scratch.laned[t, v, whole] = scratch.laned[t, v, whole] / cap
                    scratch.laned[t, v, whole] = tanh(scratch.laned[t, v, whole])
                    scratch.laned[t, v, whole] = scratch.laned[t, v, whole] * cap
            if T.Or(T.Or(first < low, first + count > end), count % lanes != 0):
                for v in range(vectors):
                    inside = T.meta_var(
                        T.bitwise_and(
                            places(v) >= T.broadcast(T.max(low - first, 0), lanes),
                            places(v) < T.broadcast(T.min(end - first, count), lanes),
                        )
                    )
                    scratch.laned[t, v, whole] = T.Select(
                        inside, scratch.laned[t, v, whole], filled(MINUS_INFINITY, lanes)
                    )
            scratch.most[whole] = filled(MINUS_INFINITY, lanes)
            for v in range(vectors):
                scratch.most[whole] = larger(scratch.laned[t, v, whole], scratch.most[whole])
            across(scratch.most, larger, halves())
            for r in T.unroll(group):
                scratch.block_largest[t * group + r] = scratch.most[r * parts]
            # Nothing seen: any finite number serves as the largest, since all weights are 0.
            scratch.most[whole] = T.Select(
                scratch.most[whole] == filled(MINUS_INFINITY, lanes), filled(0.0, lanes), scratch.most[whole]
            )
            clear_totals(scratch)
            for v in range(vectors // rows):
                take_powers(scratch, t, v * rows)
            added_totals(scratch)
            for r in T.unroll(group):
                scratch.block_total[t * group + r] = scratch.totals[0][r * parts]

    @T.inline
    def scale_weights(value_scale: Any, item: Any, first: Any, count: Any, scratch: Any) -> None:
        """Weights times what the codes of a token's value are in units of."""
        for j in range(count):
            scratch.scales[j] = value_scale[item.b, item.head, first + j]
        for j in range(count, (count + parts - 1) // parts * parts):
            scratch.scales[j] = T.float32(0)
        for t in range(item.count):
            for v in range((count + parts - 1) // parts):
                scratch.laned[t, v, whole] *= repeated(scratch.scales[span(v * parts, parts)])

    def weight(scratch: Any, t: Any, row: int, key: Any) -> Any:
        return scratch.laned[t, key // parts, row * parts + key % parts]

    return SimpleNamespace(
        take_queries=take_bytes if by_bytes else take_queries,
        score=score,
        soften=soften,
        scale_weights=scale_weights,
        weight=weight,
    )
