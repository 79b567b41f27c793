# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""A query as bytes, that codes of keys are multiplied by.

A query becomes whole numbers of 24 bits in units of its own, as fine as float32 has its largest number; each is three
bytes with a sign. Sums of products of bytes and codes are exact: they are the same in whatever order. vpdpbusd takes
codes without a sign, so an offset is added to each; sums begin with what takes it away again.
"""

from __future__ import annotations

from operator import add
from typing import Any

import numpy as np

from graphwright.backends.tvm.kernels.attention_form import BYTES, Tiling
from graphwright.backends.tvm.kernels.fast_math import magnitude_bits, spread
from graphwright.backends.tvm.kernels.tir import filled, folded, lanes_within, local_buffer, span
from graphwright.backends.tvm.tvm_library import T

LARGEST = 0x7F7F7F
"""Of three bytes of which each has a sign."""
OFFSET = 0x808080
"""Added to such a number, it makes bytes without a sign, each 128 more."""
SMALLEST = int(np.float32(2.0**-100).view(np.int32))
"""The bits of what a query's largest number counts as at least: its unit has a reciprocal."""


def scratch_of_query_bytes(tiling: Tiling) -> dict[str, Any]:
    """What an item's scratch has besides, allocated in the block that is being written."""
    across = lanes_within(tiling.cpu, tiling.form.head_size)
    return {
        "query": local_buffer(tiling.form.head_size),
        "bits": local_buffer(tiling.lanes, element="int32"),
        "sum_of_bytes": [local_buffer(across, element="int32") for _ in range(BYTES)],
        "bytes": local_buffer(BYTES, tiling.form.head_size // 4, element="int32"),
        "offsets": local_buffer(BYTES, element="int32"),
    }


def bare_codes(tiling: Tiling, k: Any, row: tuple[Any, ...], start: Any, codes: Any, j: Any) -> None:
    """A key's codes without a sign, from bytes `start` on, to row j of codes int8 [keys, head size]."""
    count = tiling.code_lanes
    bytes = k[(*row, span(start, count))]

    def each(number: Any) -> Any:
        return T.broadcast(number, count) if count > 1 else number

    def store(found: Any, first: Any) -> None:
        T.buffer_store(codes, T.reinterpret(f"int8x{count}" if count > 1 else "int8", found), [j, span(first, count)])

    if tiling.form.packed_keys:
        store(T.bitwise_and(bytes, each(T.uint8(15))), start)
        store(T.shift_right(bytes, each(T.uint8(4))), start + tiling.key_bytes)
    else:
        store(T.bitwise_xor(bytes, each(T.int8(-128))), start)


class QueryBytes:
    """Statements that make bytes of one query, and expressions that make scores of sums."""

    def __init__(self, tiling: Tiling) -> None:
        form = tiling.form
        across = lanes_within(tiling.cpu, form.head_size)

        def in_units(query: Any, key_scale: Any, head: Any, at: Any) -> Any:
            """Elements of a query by which codes are multiplied."""
            scaled = query * filled(form.scale, across)
            if form.key_scale == "tensor":
                return scaled * filled(key_scale[0], across)
            return scaled * key_scale[head, at] if form.key_scale == "channel" else scaled

        def each(number: int) -> Any:
            return T.broadcast(T.int32(number), across) if across > 1 else T.int32(number)

        def each_byte(scratch: Any, i: Any) -> None:
            """The bytes of neighbouring elements, four a word."""
            factor = filled(scratch.number[1], across)
            integers = f"int32x{across}" if across > 1 else "int32"
            whole = T.Bind(T.Cast(integers, scratch.query[span(i * across, across)] * factor) + each(OFFSET))
            for byte in range(BYTES):
                bare = T.Bind(T.bitwise_and(T.shift_right(whole, each(8 * byte)), each(0xFF)))
                place = span(0, across)
                T.buffer_store(scratch.sum_of_bytes[byte], scratch.sum_of_bytes[byte][place] + bare, [place])
                signed = T.Cast(f"int8x{across}", bare - each(128))
                words = T.reinterpret(f"int32x{across // 4}" if across > 4 else "int32", signed)
                T.buffer_store(scratch.bytes, words, [byte, span(i * (across // 4), across // 4)])

        def clear(scratch: Any) -> None:
            for total in scratch.sum_of_bytes:
                T.buffer_store(total, each(0), [span(0, across)])

        def store_offsets(scratch: Any) -> None:
            for byte, each_total in enumerate(scratch.sum_of_bytes):
                total = folded(each_total[span(0, across)], across, add)
                offset = (T.int32(128 * form.head_size) - total) * T.int32(form.key_offset)
                T.buffer_store(scratch.offsets, offset, [byte])

        @T.inline
        def take(operands: Any, item: Any, row: Any, head: Any, scratch: Any) -> None:
            """Query `row` of a head, times the scales: `bytes`, `offsets` that its sums begin with, and in `number` its
            unit."""
            scratch.bits[span(0, across)] = each(SMALLEST)
            for i in range(form.head_size // across):
                at = T.meta_var(span(i * across, across))
                scratch.query[at] = in_units(operands.q[item.b, head, row, at], operands.key_scale, item.head, at)
                scratch.bits[span(0, across)] = T.max(scratch.bits[span(0, across)], magnitude_bits(scratch.query[at]))
            # NaN has the largest bits of all: then all scores are NaN.
            scratch.number[0] = T.reinterpret("float32", folded(scratch.bits[span(0, across)], across, T.max))
            scratch.number[1] = T.float32(LARGEST) / scratch.number[0]
            scratch.number[0] = scratch.number[0] / T.float32(LARGEST)
            clear(scratch)
            for i in range(form.head_size // across):
                each_byte(scratch, i)
            store_offsets(scratch)

        self.take = take

    @staticmethod
    def low(lowest: Any, middle: Any) -> Any:
        """The sums of the two lower bytes: int32 holds them together."""
        return middle * spread(T.int32(256), middle) + lowest

    @staticmethod
    def joined(low: Any, high: Any) -> Any:
        """The whole sum as float32, in units of the query."""
        lanes = low.ty.dtype.lanes
        numbers = f"float32x{lanes}"
        return T.Cast(numbers, high) * T.broadcast(T.float32(65536), lanes) + T.Cast(numbers, low)
