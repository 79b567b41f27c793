# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""Scores of keys of codes by products of bytes, four a lane and instruction (AVX-512 VNNI), many keys at a time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from graphwright.backends.tvm.kernels.attention_form import BYTES, Tiling
from graphwright.backends.tvm.kernels.attention_operands import key_place
from graphwright.backends.tvm.kernels.attention_query_bytes import QueryBytes
from graphwright.backends.tvm.kernels.tir import local_buffer, span, transposed
from graphwright.backends.tvm.tvm_library import T


def scratch_of_bytes(tiling: Tiling) -> dict[str, Any]:
    """What an item's scratch has besides, allocated in the block that is being written."""

    def local(element: str, *shape: int) -> Any:
        return local_buffer(*shape, element=element)

    rows = tiling.tile_rows * BYTES
    return {
        "words": local("int32", tiling.row_tiles, rows, tiling.turned_rows),
        "starts": local("int32", tiling.row_tiles, rows),
        "unit": local("float32", tiling.padded_rows),
        "sums_of_bytes": [local("int32", tiling.lanes) for _ in range(rows)],
    }


def code_scores(tiling: Tiling) -> Any:
    """The statements that differ from those of numbers: take_queries, turn, turn_one and score."""
    form, lanes, group = tiling.form, tiling.lanes, tiling.form.group
    tile_rows, words = tiling.tile_rows, tiling.turned_rows
    query_bytes = QueryBytes(tiling)

    @T.inline
    def take_queries(operands: Any, item: Any, scratch: Any) -> None:
        """Each row's query, times the scales, as bytes; rows that are none are zero."""
        for r in range(tiling.padded_rows):
            if r < item.count * group:
                query_bytes.take(operands, item, item.first + r // group, item.head * group + r % group, scratch)
                scratch.unit[r] = scratch.number[0]
                for byte in T.unroll(BYTES):
                    scratch.starts[r // tile_rows, r % tile_rows * BYTES + byte] = scratch.offsets[byte]
                    for w in range(words):
                        scratch.words[r // tile_rows, r % tile_rows * BYTES + byte, w] = scratch.bytes[byte, w]
            else:
                scratch.unit[r] = T.float32(0)
                for byte in T.unroll(BYTES):
                    scratch.starts[r // tile_rows, r % tile_rows * BYTES + byte] = 0
                    for w in range(words):
                        scratch.words[r // tile_rows, r % tile_rows * BYTES + byte, w] = 0

    def words_of(k: Any, item: Any, first: Any, last: Any, j: Any, word: Any, count: int, scratch: Any) -> Any:
        """Codes without a sign."""
        if form.packed_keys:
            bare = scratch.unpacked[j, span(word * 4, count * 4)]
        else:
            key = first + T.min(j, last)
            codes = k[item.b, item.head, key_place(form, key, scratch.ring_begin[0]), span(word * 4, count * 4)]
            bare = T.bitwise_xor(codes, T.broadcast(T.int8(-128), count * 4))
        return T.reinterpret(f"int32x{count}" if count > 1 else "int32", bare)

    def turn(k: Any, item: Any, first: Any, last: Any, word: Any, column: Any, scratch: Any) -> None:
        """A square of keys and words."""
        rows = [words_of(k, item, first, last, column + j, word, lanes, scratch) for j in range(lanes)]
        for j, vector in enumerate(transposed(rows)):
            T.buffer_store(scratch.turned, vector, [word + j, span(column, lanes)])

    def turn_one(k: Any, item: Any, first: Any, last: Any, word: Any, column: Any, scratch: Any) -> None:
        T.buffer_store(scratch.turned, words_of(k, item, first, last, column, word, 1, scratch), [word, column])

    def clear(scratch: Any, t: Any) -> None:
        for i, sums in enumerate(scratch.sums_of_bytes):
            T.buffer_store(sums, T.broadcast(scratch.starts[t, i], lanes), [span(0, lanes)])

    def multiply(scratch: Any, t: Any, w: Any, column: Any) -> None:
        """One word of queries and keys."""
        keys = T.Bind(T.reinterpret("int8x64", scratch.turned[w, span(column, lanes)]))
        for i, sums in enumerate(scratch.sums_of_bytes):
            bytes_of_query = T.reinterpret("int8x64", T.broadcast(scratch.words[t, i, w], lanes))
            added = T.call_llvm_pure_intrin(
                "int32x16", "llvm.x86.avx512.vpdpbusd.512", sums[span(0, lanes)], keys, bytes_of_query
            )
            T.buffer_store(sums, added, [span(0, lanes)])

    def store_scores(scratch: Any, t: Any, column: Any) -> None:
        sums = [T.Bind(each[span(0, lanes)]) for each in scratch.sums_of_bytes]
        for m in range(tile_rows):
            *lower, high = sums[m * BYTES : (m + 1) * BYTES]
            row = t * tile_rows + m
            score = QueryBytes.joined(QueryBytes.low(*lower), high) * T.broadcast(scratch.unit[row], lanes)
            T.buffer_store(scratch.scores, score, [row, span(column, lanes)])

    @T.inline
    def score(count: Any, scratch: Any) -> None:
        """Products of all rows with a block's keys."""
        for t in range(tiling.row_tiles):
            for c in range((count + lanes - 1) // lanes):
                clear(scratch, t)
                for w in range(words):
                    multiply(scratch, t, w, c * lanes)
                store_scores(scratch, t, c * lanes)

    return SimpleNamespace(take_queries=take_queries, turn=turn, turn_one=turn_one, score=score)
