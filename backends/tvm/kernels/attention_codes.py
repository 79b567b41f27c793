# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""Scores of keys of int8 codes by products of bytes, four a lane and instruction (AVX-512 VNNI).

A query becomes whole numbers of 24 bits in units of its own, as fine as float32 has its largest number. Its three bytes
are multiplied by codes one by one, whose sums are exact: they are the same in whatever order. vpdpbusd takes bytes
without a sign there, so 2^23 is added to each number, and 2^23 times the sum of the codes taken away.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from graphwright.backends.tvm.kernels.attention_form import BYTES, Tiling
from graphwright.backends.tvm.kernels.attention_operands import key_place
from graphwright.backends.tvm.kernels.fast_math import magnitude_bits
from graphwright.backends.tvm.kernels.tir import filled, folded, lanes_within, local_buffer, span, transposed
from graphwright.backends.tvm.tvm_library import T

HALF = 1 << 23
SMALLEST = int(np.float32(2.0**-100).view(np.int32))
"""The bits of what a query's largest number counts as at least: its unit has a reciprocal."""


def scratch_of_bytes(tiling: Tiling) -> dict[str, Any]:
    """What an item's scratch has besides, allocated in the block that is being written."""

    def local(element: str, *shape: int) -> Any:
        return local_buffer(*shape, element=element)

    rows = tiling.tile_rows * BYTES
    return {
        "query": local("float32", tiling.form.head_size),
        "bits": local("int32", tiling.lanes),
        "words": local("int32", tiling.row_tiles, rows, tiling.turned_rows),
        "unit": local("float32", tiling.padded_rows),
        "sums_of_bytes": [local("int32", tiling.lanes) for _ in range(rows + 1)],
    }


def code_scores(tiling: Tiling) -> Any:
    """The statements that differ from those of numbers: take_queries, turn, turn_one and score."""
    form, lanes = tiling.form, tiling.lanes
    tile_rows, words = tiling.tile_rows, tiling.turned_rows
    across = lanes_within(tiling.cpu, form.head_size)

    def in_units(query: Any, key_scale: Any, head: Any, at: Any) -> Any:
        """Elements of a query by which codes are multiplied."""
        scaled = query * filled(form.scale, across)
        if form.key_scale == "tensor":
            return scaled * filled(key_scale[0], across)
        return scaled * key_scale[head, at] if form.key_scale == "channel" else scaled

    def each_byte(scratch: Any, row: Any, i: Any) -> None:
        """The bytes of neighbouring elements, four a word."""
        factor = T.broadcast(scratch.number[1], across)
        whole = T.Bind(T.Cast(f"int32x{across}", scratch.query[span(i * across, across)] * factor) + each(HALF))
        of_words = span(i * (across // 4), across // 4)
        for byte in range(BYTES):
            bytes = T.Cast(f"int8x{across}", T.shift_right(whole, each(8 * byte)))
            words = T.reinterpret(f"int32x{across // 4}" if across > 4 else "int32", bytes)
            T.buffer_store(scratch.words, words, [row // tile_rows, row % tile_rows * BYTES + byte, of_words])

    def each(number: int) -> Any:
        return T.broadcast(T.int32(number), across)

    @T.inline
    def take_queries(operands: Any, item: Any, scratch: Any) -> None:
        """Each row's query, times the scales, as bytes; rows that are none are zero."""
        for r in range(tiling.padded_rows):
            scratch.bits[span(0, across)] = each(SMALLEST)
            for i in range(form.head_size // across):
                at = T.meta_var(span(i * across, across))
                if r < item.count * form.group:
                    query = T.meta_var(
                        operands.q[item.b, item.head * form.group + r % form.group, item.first + r // form.group, at]
                    )
                    scratch.query[at] = in_units(query, operands.key_scale, item.head, at)
                else:
                    scratch.query[at] = filled(0.0, across)
                scratch.bits[span(0, across)] = T.max(scratch.bits[span(0, across)], magnitude_bits(scratch.query[at]))
            # NaN has the largest bits of all: then all scores are NaN.
            scratch.number[0] = T.reinterpret("float32", folded(scratch.bits[span(0, across)], across, T.max))
            scratch.unit[r] = scratch.number[0] / T.float32(HALF - 1)
            scratch.number[1] = T.float32(HALF - 1) / scratch.number[0]
            for i in range(form.head_size // across):
                each_byte(scratch, r, i)

    def words_of(k: Any, item: Any, key: Any, word: Any, count: int, scratch: Any) -> Any:
        codes = k[item.b, item.head, key_place(form, key, scratch.ring_begin[0]), span(word * 4, count * 4)]
        return T.reinterpret(f"int32x{count}" if count > 1 else "int32", codes)

    def turn(k: Any, item: Any, first: Any, last: Any, word: Any, column: Any, scratch: Any) -> None:
        """A square of keys and words."""
        rows = [words_of(k, item, first + T.min(column + j, last), word, lanes, scratch) for j in range(lanes)]
        for j, vector in enumerate(transposed(rows)):
            T.buffer_store(scratch.turned, vector, [word + j, span(column, lanes)])

    def turn_one(k: Any, item: Any, key: Any, word: Any, column: Any, scratch: Any) -> None:
        T.buffer_store(scratch.turned, words_of(k, item, key, word, 1, scratch), [word, column])

    def clear(scratch: Any) -> None:
        for sums in scratch.sums_of_bytes:
            T.buffer_store(sums, T.broadcast(T.int32(0), lanes), [span(0, lanes)])

    def multiply(scratch: Any, t: Any, w: Any, column: Any) -> None:
        """One word of queries and keys."""
        keys = T.Bind(T.reinterpret("int8x64", scratch.turned[w, span(column, lanes)]))
        bytes = [scratch.words[t, i, w] for i in range(tile_rows * BYTES)]
        for sums, word in zip(scratch.sums_of_bytes, [*bytes, T.int32(0x01010101)], strict=True):
            bytes_of_query = T.reinterpret("int8x64", T.broadcast(word, lanes))
            added = T.call_llvm_pure_intrin(
                "int32x16", "llvm.x86.avx512.vpdpbusd.512", sums[span(0, lanes)], bytes_of_query, keys
            )
            T.buffer_store(sums, added, [span(0, lanes)])

    def store_scores(scratch: Any, t: Any, column: Any) -> None:
        *of_bytes, of_codes = (T.Bind(sums[span(0, lanes)]) for sums in scratch.sums_of_bytes)
        for m in range(tile_rows):
            low, middle, high = of_bytes[m * BYTES : (m + 1) * BYTES]
            # Both are whole numbers that int32 holds, and the first float32 too.
            upper = T.Cast("float32x16", high - of_codes * T.broadcast(T.int32(128), lanes))
            lower = T.Cast("float32x16", middle * T.broadcast(T.int32(256), lanes) + low)
            row = t * tile_rows + m
            whole = upper * T.broadcast(T.float32(65536), lanes) + lower
            score = whole * T.broadcast(scratch.unit[row], lanes)
            T.buffer_store(scratch.scores, score, [row, span(column, lanes)])

    @T.inline
    def score(count: Any, scratch: Any) -> None:
        """Products of all rows with a block's keys."""
        for t in range(tiling.row_tiles):
            for c in range((count + lanes - 1) // lanes):
                clear(scratch)
                for w in range(words):
                    multiply(scratch, t, w, c * lanes)
                store_scores(scratch, t, c * lanes)

    return SimpleNamespace(take_queries=take_queries, turn=turn, turn_one=turn_one, score=score)
