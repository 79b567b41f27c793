# pyright: reportInvalidTypeForm=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""Vectors turned in registers: so many vectors of so many lanes to their columns."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.kernels.loops import span
from graphwright.backends.tvm.tvm_library import T, tirx


def transposition(lanes: int) -> Any:
    """turn(square, load, store): load(i) is vector i; store(i) is the buffer and index where column i goes.

    square is scratch f32 [log2(lanes) + 1, lanes, lanes]. Each step interleaves the vectors of the first half with
    those of the second (a perfect shuffle; Stone 1971); after log2(lanes) steps they are turned.
    """
    steps = lanes.bit_length() - 1
    low = [i // 2 + i % 2 * lanes for i in range(lanes)]
    high = [lanes // 2 + i for i in low]
    half = lanes // 2

    def mixed(a: Any, b: Any, indices: list[int]) -> Any:
        return tirx.Shuffle([a, b], indices)

    @T.inline
    def turn(square, load, target, store):
        every = T.meta_var(span(0, lanes))
        for i in T.unroll(lanes):
            square[0, i, every] = load(i)
        for step in T.unroll(steps):
            for i in T.unroll(half):
                a = T.meta_var(square[step, i, every])
                b = T.meta_var(square[step, i + half, every])
                square[step + 1, 2 * i, every] = mixed(a, b, low)
                square[step + 1, 2 * i + 1, every] = mixed(a, b, high)
        for i in T.unroll(lanes):
            target[store(i)] = square[steps, i, every]

    return turn
