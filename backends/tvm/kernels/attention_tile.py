# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""Some queries of a group of heads against a block of keys: the body that all attention kernels share.

The softmax is the online one (Milakov & Gimelshein 2018), the blocks those of Dao et al. 2022: scores of a block never
leave the nearest cache.

What a query gets depends on nothing but what it sees, to the last bit: not on the queries, rows and threads beside it.
Blocks begin at positions that are multiples of their size, those of a ring too, whose keys are taken in the order of
positions. Each is summed up by itself, from zero and against its own largest score, and
joined to what the blocks before it gave, in their order.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from graphwright.backends.tvm.kernels.attention_ahead import NextBlock
from graphwright.backends.tvm.kernels.attention_codes import code_scores
from graphwright.backends.tvm.kernels.attention_form import NIBBLE_OFFSET, Tiling
from graphwright.backends.tvm.kernels.attention_lanes import lane_scores
from graphwright.backends.tvm.kernels.attention_operands import (
    ALWAYS,
    NEVER,
    as_float,
    bias_at,
    bounds,
    floats_of,
    key_place,
    ring_begin,
)
from graphwright.backends.tvm.kernels.attention_query_bytes import bare_codes
from graphwright.backends.tvm.kernels.fast_math import exp, exp_of_negative, is_nonzero, let, tanh
from graphwright.backends.tvm.kernels.tir import filled, folded, larger, span, transposed
from graphwright.backends.tvm.tvm_library import T


def or_zero(largest: Any) -> Any:
    """A finite number to take away from scores where none is above minus infinity."""
    return let(largest, lambda m: T.Select(m == T.float32(float("-inf")), T.float32(0), m))


def statements(tiling: Tiling) -> Any:
    """The statements over one item's scratch. If each block is read once, the next is asked for early."""
    form, lanes, keys = tiling.form, tiling.lanes, tiling.keys
    group, size, value_size = form.group, form.head_size, form.value_size
    tile_rows, tile_vectors = tiling.tile_rows, tiling.tile_vectors
    value_lanes, value_vectors = tiling.value_lanes, tiling.value_vectors
    whole, rest = tiling.turned_rows // lanes, tiling.turned_rows % lanes
    width = tile_vectors * lanes
    value_width = value_vectors * value_lanes
    ahead = NextBlock(tiling) if tiling.streams and not form.ring else None
    across = lane_scores(tiling, ahead) if tiling.in_lanes else None
    codes = code_scores(tiling) if tiling.by_bytes and across is None else None
    parts = tiling.parts

    def tiles(item: Any) -> Any:
        """Of rows, as many as the item has."""
        return (item.count * group + tile_rows - 1) // tile_rows

    def position_of(positions: Any, item: Any, query: Any) -> Any:
        return T.Cast("int32", positions[0 if form.shared_positions else item.b, query])

    def times_scale(scaled: Any, key_scale: Any, head: Any, d: Any) -> Any:
        if form.key_scale == "tensor":
            return scaled * key_scale[0]
        return scaled * key_scale[head, d] if form.key_scale == "channel" else scaled

    def placed(key: Any, scratch: Any) -> Any:
        return key_place(form, key, scratch.ring_begin[0])

    def first_key(n: Any, scratch: Any) -> Any:
        """Of a block: before the first of all, if that is not the first of its block."""
        return n * keys - scratch.before[0] if form.ring else n * keys

    def key_vector(k: Any, item: Any, first: Any, last: Any, j: Any, start: Any, lanes: int, scratch: Any) -> Any:
        if form.packed_keys:
            return as_float(scratch.unpacked[j, span(start, lanes)]) - filled(float(NIBBLE_OFFSET), lanes)
        return as_float(k[item.b, item.head, placed(first + T.min(j, last), scratch), span(start, lanes)])

    def place_of(first: Any, v: Any, scratch: Any) -> Any:
        return scratch.places[span(v * lanes, lanes)] if form.key_positions else span(first + v * lanes, lanes)

    def value_at(v: Any, item: Any, first: Any, j: Any, start: Any, scratch: Any) -> Any:
        if tiling.values_kept:
            return scratch.values[j, span(start, value_lanes)]
        return floats_of(v, item.b, item.head, placed(first + j, scratch), start, value_lanes)

    @T.inline
    def look(operands: Any, item: Any, scratch: Any) -> None:
        """What each row sees, and what any."""
        scratch.low_key[0] = ALWAYS
        scratch.end_key[0] = NEVER
        if form.ring > 0:
            scratch.ring_begin[0] = ring_begin(form, operands, item.b)
            scratch.before[0] = T.floormod(position_of(operands.positions, item, 0) - form.ring, keys)
        for r in range(item.count * group):
            position = T.meta_var(position_of(operands.positions, item, item.first + r // group))
            scratch.low[r] = bounds(form, position)[0]
            scratch.end[r] = bounds(form, position)[1]
            scratch.low_key[0] = T.min(scratch.low_key[0], scratch.low[r])
            scratch.end_key[0] = T.max(scratch.end_key[0], scratch.end[r])

    @T.inline
    def begin(scratch: Any, r: Any) -> None:
        """A row that no block has been joined to."""
        scratch.largest[r] = T.float32(float("-inf"))
        scratch.total[r] = T.float32(0)
        scratch.factor[r] = T.float32(0)
        for i in range(value_size // value_lanes):
            scratch.sums[r, span(i * value_lanes, value_lanes)] = filled(0.0, value_lanes)

    @T.inline
    def join(scratch: Any, r: Any, largest: Any, total: Any) -> None:
        """A block's largest score and sum of weights to those of a row; `factor` is what its sums are to be times.

        One of the two is brought down to the other's largest score. A block in which the row sees nothing has no sums.
        """
        scratch.factor[r] = T.float32(0)
        if is_nonzero(total):
            if largest > scratch.largest[r]:
                scratch.number[0] = exp(scratch.largest[r] - largest)
                scratch.total[r] = scratch.total[r] * scratch.number[0] + total
                scratch.largest[r] = largest
                scratch.factor[r] = T.float32(1)
                for i in range(value_size // value_lanes):
                    at = T.meta_var(span(i * value_lanes, value_lanes))
                    scratch.sums[r, at] *= filled(scratch.number[0], value_lanes)
            else:
                scratch.factor[r] = exp(largest - or_zero(scratch.largest[r]))
                scratch.total[r] += total * scratch.factor[r]

    @T.inline
    def take_queries(operands: Any, item: Any, scratch: Any) -> None:
        """Each row's query, times the scale; rows of a tile that are none are zero."""
        for r in range(tiles(item) * tile_rows):
            if r < item.count * group:
                for d in range(size):
                    element = T.meta_var(operands.q[item.b, item.head * group + r % group, item.first + r // group, d])
                    scaled = T.meta_var(element * T.float32(form.scale))
                    scratch.queries[r // tile_rows, d, r % tile_rows] = times_scale(
                        scaled, operands.key_scale, item.head, d
                    )
            else:
                for d in range(size):
                    scratch.queries[r // tile_rows, d, r % tile_rows] = T.float32(0)

    take = next((each.take_queries for each in (across, codes) if each is not None), take_queries)

    @T.inline
    def start(operands: Any, item: Any, scratch: Any) -> None:
        """Queries, and sums of nothing."""
        take(operands, item, scratch)
        for r in range(tiles(item) * tile_rows):
            begin(scratch, r)

    def turn(k: Any, item: Any, first: Any, last: Any, start: Any, column: Any, scratch: Any) -> None:
        """A square of keys and elements."""
        if ahead is not None:
            ahead.turning(k, item, scratch.next_key[0], (column * whole + start) // lanes)
        if codes is not None:
            codes.turn(k, item, first, last, start, column, scratch)
            return
        rows = [key_vector(k, item, first, last, column + j, start, lanes, scratch) for j in range(lanes)]
        for j, vector in enumerate(transposed(rows)):
            T.buffer_store(scratch.turned, vector, [start + j, span(column, lanes)])

    def turn_one(k: Any, item: Any, first: Any, last: Any, d: Any, column: Any, scratch: Any) -> None:
        if codes is not None:
            codes.turn_one(k, item, first, last, d, column, scratch)
            return
        T.buffer_store(scratch.turned, key_vector(k, item, first, last, column, d, 1, scratch), [d, column])

    @T.inline
    def unpack_keys(k: Any, item: Any, first: Any, count: Any, scratch: Any) -> None:
        """A block's keys with a byte for each code."""
        for j in range(count):
            for i in range(tiling.key_bytes // tiling.code_lanes):
                row = T.meta_var((item.b, item.head, placed(first + j, scratch)))
                bare_codes(tiling, k, row, i * tiling.code_lanes, scratch.unpacked, j)

    @T.inline
    def turn_keys(k: Any, item: Any, first: Any, count: Any, scratch: Any) -> None:
        """Keys first to first + count to their columns. Beyond the last one it is repeated: nothing lies there."""
        if form.packed_keys:
            unpack_keys(k, item, first, count, scratch)
        for v in range((count + lanes - 1) // lanes):
            for i in range(whole):
                turn(k, item, first, count - 1, i * lanes, v * lanes, scratch)
            if rest > 0:
                for j in range(lanes):
                    for d in range(rest):
                        turn_one(k, item, first, count - 1, whole * lanes + d, v * lanes + j, scratch)

    def each(rows: int, vectors: int) -> list[tuple[int, int]]:
        return [(m, v) for m in range(rows) for v in range(vectors)]

    def clear(tile: Any) -> None:
        for m, v in each(tile_rows, tile_vectors):
            T.buffer_store(tile[m], filled(0.0, lanes), [v, span(0, lanes)])

    def multiply(operands: Any, item: Any, scratch: Any, t: Any, d: Any, column: Any) -> None:
        """One element of queries and keys."""
        if ahead is not None:
            ahead.scoring(operands.k, operands.v, item, scratch.next_key[0], d)
        of_keys = [T.Bind(scratch.turned[d, span(column + v * lanes, lanes)]) for v in range(tile_vectors)]
        of_queries = [T.Bind(filled(scratch.queries[t, d, m], lanes)) for m in range(tile_rows)]
        for m, v in each(tile_rows, tile_vectors):
            sum = scratch.tile[m][v, span(0, lanes)]
            T.buffer_store(scratch.tile[m], sum + of_queries[m] * of_keys[v], [v, span(0, lanes)])

    def add_up(scratch: Any, t: Any, part: int, column: Any) -> None:
        """A part of each score to those before it: in the order of `added_up`, neighbours first."""
        for m, v in each(tile_rows, tile_vectors):
            sum, place = scratch.tile[m][v, span(0, lanes)], span(column + v * lanes, lanes)
            row, kept = t * tile_rows + m, span(v * lanes, lanes)
            if part == 0:
                T.buffer_store(scratch.scores, sum, [row, place])
            elif part == 1:
                T.buffer_store(scratch.scores, scratch.scores[row, place] + sum, [row, place])
            elif part == 2:
                T.buffer_store(scratch.parted, sum, [m, kept])
            else:
                pair = scratch.parted[m, kept] + sum
                T.buffer_store(scratch.scores, scratch.scores[row, place] + pair, [row, place])

    @T.inline
    def score_part(operands: Any, item: Any, scratch: Any, t: Any, part: int, column: Any) -> None:
        clear(scratch.tile)
        for s in range(size // parts):
            multiply(operands, item, scratch, t, s * parts + part, column)
        add_up(scratch, t, part, column)

    @T.inline
    def score(operands: Any, item: Any, count: Any, scratch: Any) -> None:
        """Products of all rows with a block's keys."""
        for t in range(tiles(item)):
            for c in range((count + width - 1) // width):
                score_part(operands, item, scratch, t, 0, c * width)
                if parts > 1:
                    score_part(operands, item, scratch, t, 1, c * width)
                if parts > 2:
                    score_part(operands, item, scratch, t, 2, c * width)
                    score_part(operands, item, scratch, t, 3, c * width)

    @T.inline
    def bend(key_scale: Any, bias: Any, item: Any, first: Any, count: Any, r: Any, scratch: Any) -> None:
        """What happens to one row's scores before the softmax: scales of keys, softcap, bias."""
        if form.key_scale == "token":
            for j in range(count):
                scratch.scores[r, j] *= key_scale[item.b, item.head, placed(first + j, scratch)]
        if form.softcap > 0:
            for v in range((count + lanes - 1) // lanes):
                at = T.meta_var(span(v * lanes, lanes))
                cap = T.meta_var(filled(form.softcap, lanes))
                scratch.scores[r, at] = scratch.scores[r, at] / cap
                scratch.scores[r, at] = tanh(scratch.scores[r, at])
                scratch.scores[r, at] = scratch.scores[r, at] * cap
        if form.bias is not None:
            for j in range(count):
                head = T.meta_var(item.head * group + r % group)
                there = T.meta_var(bias_at(form, bias, item.b, head, item.first + r // group, first + j))
                if form.bias == "bool":
                    scratch.scores[r, j] = T.Select(there, scratch.scores[r, j], T.float32(float("-inf")))
                else:
                    scratch.scores[r, j] += there

    @T.inline
    def soften(key_scale: Any, bias: Any, item: Any, first: Any, count: Any, scratch: Any) -> None:
        """Scores to weights against the largest score of the block."""
        for r in range(item.count * group):
            bend(key_scale, bias, item, first, count, r, scratch)
            scratch.vector[span(0, lanes)] = filled(float("-inf"), lanes)
            for v in range((count + lanes - 1) // lanes):
                at = T.meta_var(span(v * lanes, lanes))
                place = T.meta_var(place_of(first, v, scratch))
                seen = T.meta_var(
                    T.bitwise_and(place >= filled(scratch.low[r], lanes), place < filled(scratch.end[r], lanes))
                )
                inside = T.meta_var(span(v * lanes, lanes) < filled(count, lanes))
                scratch.scores[r, at] = T.Select(
                    T.bitwise_and(seen, inside), scratch.scores[r, at], filled(float("-inf"), lanes)
                )
                scratch.vector[span(0, lanes)] = larger(scratch.scores[r, at], scratch.vector[span(0, lanes)])
            scratch.block_largest[r] = folded(scratch.vector[span(0, lanes)], lanes, larger)
            # Nothing seen: any finite number serves as the largest, since all weights are 0.
            scratch.number[1] = or_zero(scratch.block_largest[r])
            scratch.vector[span(0, lanes)] = filled(0.0, lanes)
            for v in range((count + lanes - 1) // lanes):
                at = T.meta_var(span(v * lanes, lanes))
                scratch.scores[r, at] = exp_of_negative(
                    tiling.cpu, scratch.scores[r, at] - filled(scratch.number[1], lanes)
                )
                scratch.vector[span(0, lanes)] += scratch.scores[r, at]
            scratch.block_total[r] = folded(scratch.vector[span(0, lanes)], lanes, lambda a, b: a + b)

    def clear_values(scratch: Any) -> None:
        for m, i in each(tile_rows, value_vectors):
            T.buffer_store(scratch.value_tile[m], filled(0.0, value_lanes), [i, span(0, value_lanes)])

    def weight(scratch: Any, t: Any, m: int, j: Any) -> Any:
        return scratch.scores[t * tile_rows + m, j] if across is None else across.weight(scratch, t, m, j)

    def add_value(v: Any, item: Any, first: Any, j: Any, scratch: Any, t: Any, column: Any) -> None:
        """One key's value, weighted, to the sums of a tile."""
        if ahead is not None:
            ahead.weighing(v, item, scratch.next_key[0], j)
        starts = [column + i * value_lanes for i in range(value_vectors)]
        values = [T.Bind(value_at(v, item, first, j, start, scratch)) for start in starts]
        weights = [T.Bind(filled(weight(scratch, t, m, j), value_lanes)) for m in range(tile_rows)]
        for m, i in each(tile_rows, value_vectors):
            sum = scratch.value_tile[m][i, span(0, value_lanes)]
            T.buffer_store(scratch.value_tile[m], sum + weights[m] * values[i], [i, span(0, value_lanes)])

    def put_sums(scratch: Any, t: Any, column: Any, put: Any) -> None:
        for m, i in each(tile_rows, value_vectors):
            at = span(column + i * value_lanes, value_lanes)
            put(t * tile_rows + m, at, scratch.value_tile[m][i, span(0, value_lanes)])

    @T.inline
    def weigh(v: Any, value_scale: Any, item: Any, first: Any, begin: Any, count: Any, scratch: Any, put: Any) -> None:
        """The weighted values of keys begin to count of the block, whose sums `put(row, index, sum)` stores."""
        if form.value_scale == "token":
            if across is not None:
                across.scale_weights(value_scale, item, first, count, scratch)
            else:
                for r in range(item.count * group):
                    for j in range(begin, count):
                        scratch.scores[r, j] *= value_scale[item.b, item.head, placed(first + j, scratch)]
        if tiling.values_kept:
            for j in range(begin, count):
                for i in range(value_size // value_lanes):
                    start = T.meta_var(i * value_lanes)
                    scratch.values[j, span(start, value_lanes)] = floats_of(
                        v, item.b, item.head, placed(first + j, scratch), start, value_lanes
                    )
        for t in range(tiles(item)):
            for c in range(value_size // value_width):
                clear_values(scratch)
                for j in range(begin, count):
                    add_value(v, item, first, j, scratch, t, c * value_width)
                put_sums(scratch, t, c * value_width, put)

    @T.inline
    def find_places(key_positions: Any, item: Any, first: Any, scratch: Any) -> None:
        """The positions of a block's keys, and which of them are the first and the last that any row may see."""
        scratch.number_of_keys[0] = scratch.count[0]
        scratch.begin[0] = keys
        scratch.count[0] = 0
        for j in range(scratch.number_of_keys[0]):
            row = T.meta_var(0 if form.shared_key_positions else item.b)
            place = T.meta_var(key_positions[row, placed(first + j, scratch)])
            known = T.meta_var(T.And(place >= 0, first + j >= 0) if form.ring > 0 else place >= 0)
            scratch.places[j] = T.Select(known, T.Cast("int32", place), NEVER - 1)
            if T.And(scratch.places[j] >= scratch.low_key[0], scratch.places[j] < scratch.end_key[0]):
                scratch.begin[0] = T.min(scratch.begin[0], j)
                scratch.count[0] = j + 1

    @T.inline
    def block(operands: Any, item: Any, n: Any, low_key: Any, end_key: Any, scratch: Any) -> None:
        """Of block n: the weights, largest score and sum of weights of each row.

        `begin` to `count` are its keys, from low_key to end_key, that any row may see: none where they are no range.
        """
        first = T.meta_var(first_key(n, scratch))
        scratch.begin[0] = T.max(low_key - first, 0)
        scratch.count[0] = T.min(keys, end_key - first)
        if form.key_positions:
            find_places(operands.key_positions, item, first, scratch)
        if scratch.count[0] > scratch.begin[0]:
            if ahead is not None:
                # After a share's last block the same share of the next head follows, which lies behind this one's keys.
                following = T.meta_var(scratch.shared[0] * keys + T.Cast("int32", operands.capacity))
                scratch.next_key[0] = T.Select(n + 1 < scratch.shared[1], first + keys, following)
            if across is not None:
                across.score(operands, item, first, scratch.count[0], scratch)
                across.soften(first, scratch.count[0], item, scratch)
            else:
                turn_keys(operands.k, item, first, scratch.count[0], scratch)
                if codes is None:
                    score(operands, item, scratch.count[0], scratch)
                else:
                    codes.score(scratch.count[0], scratch)
                soften(operands.key_scale, operands.bias, item, first, scratch.count[0], scratch)

    @T.inline
    def sum_up(operands: Any, item: Any, n: Any, scratch: Any, put: Any) -> None:
        """The weighted values of the block that `block` has found the weights of."""
        first = T.meta_var(first_key(n, scratch))
        weigh(operands.v, operands.value_scale, item, first, scratch.begin[0], scratch.count[0], scratch, put)

    def blocks(low_key: Any, end_key: Any, scratch: Any) -> tuple[Any, Any]:
        """The first and the end of the blocks that have keys from low_key to end_key."""
        before = scratch.before[0] if form.ring else 0
        return (low_key + before) // keys, T.max((end_key + before + keys - 1) // keys, (low_key + before) // keys)

    return SimpleNamespace(look=look, start=start, begin=begin, join=join, block=block, sum_up=sum_up, blocks=blocks)
