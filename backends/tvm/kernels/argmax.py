# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""The greedy token: where logits are largest, so that they need not leave."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.fast_math import INFINITY_BITS, is_nan, magnitude_bits, number
from graphwright.backends.tvm.kernels.local_buffer import local_buffer
from graphwright.backends.tvm.kernels.loops import filled, span
from graphwright.backends.tvm.tvm_library import T

PARTS = 16
"""Parts of a row, which threads look through at once."""


def better(a: Any, b: Any) -> Any:
    """Whether a is to be taken rather than b, which comes first: if it is larger, or NaN and b is not."""
    return T.bitwise_or(a > b, T.bitwise_and(is_nan(a), magnitude_bits(b) <= number(INFINITY_BITS, magnitude_bits(b))))


def argmax(cpu: Cpu, *, size: int) -> Any:
    """(logits f32 [M, size], token i64 [M]): the first place of the largest number, or of NaN, as numpy.argmax."""
    lanes = cpu.float_lanes
    chunks = size // lanes
    every = span(0, lanes)

    @T.prim_func(private=True, s_tir=True)
    def kernel(logits_handle: T.handle, token_handle: T.handle):
        rows = T.int64()
        logits = T.match_buffer(logits_handle, (rows, size), "float32")
        token = T.match_buffer(token_handle, (rows,), "int64")
        with T.sblock("root"):
            part_value = T.sblock_alloc_buffer((rows, PARTS), "float32")
            part_index = T.sblock_alloc_buffer((rows, PARTS), "int32")
            for i in T.parallel(rows * PARTS):
                largest = local_buffer(lanes)
                where = local_buffer(lanes, element="int32")
                row = T.meta_var(i // PARTS)
                first = T.meta_var(i % PARTS * chunks // PARTS)
                end = T.meta_var((i % PARTS + 1) * chunks // PARTS)
                largest[every] = filled(float("-inf"), lanes)
                where[every] = T.Cast(f"int32x{lanes}", T.ramp(first * lanes, 1, lanes))
                for c in range(end - first):
                    at = T.meta_var(T.ramp((first + c) * lanes, 1, lanes))
                    take = T.meta_var(better(logits[row, at], largest[every]))
                    where[every] = T.Select(take, T.Cast(f"int32x{lanes}", at), where[every])
                    largest[every] = T.Select(take, logits[row, at], largest[every])
                part_value[row, i % PARTS] = largest[0]
                part_index[row, i % PARTS] = where[0]
                for lane in range(1, lanes):
                    best = T.meta_var(part_value[row, i % PARTS])
                    place = T.meta_var(part_index[row, i % PARTS])
                    equal = T.meta_var(T.Not(T.Or(better(largest[lane], best), better(best, largest[lane]))))
                    if T.Or(better(largest[lane], best), T.And(equal, where[lane] < place)):
                        part_value[row, i % PARTS] = largest[lane]
                        part_index[row, i % PARTS] = where[lane]
            for row in range(rows):
                value = local_buffer(1)
                value[0] = part_value[row, 0]
                token[row] = T.Cast("int64", part_index[row, 0])
                for p in range(1, PARTS):
                    if better(part_value[row, p], value[0]):
                        value[0] = part_value[row, p]
                        token[row] = T.Cast("int64", part_index[row, p])
                for column in range(chunks * lanes, size):
                    if better(logits[row, column], value[0]):
                        value[0] = logits[row, column]
                        token[row] = T.Cast("int64", column)

    return kernel
