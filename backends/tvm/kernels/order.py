# pyright: reportInvalidTypeForm=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""Which of a row's keys are the largest, and their order; of equal keys the first comes first."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.tvm_library import T


def largest(cpu: Cpu, *, count: int) -> Any:
    """(keys i64 [M, N], places i64 [M, count]): where the largest stand, from the largest on.

    A row is looked through once for each of them.
    """

    @T.prim_func(private=True, s_tir=True)
    def kernel(keys_handle: T.handle, places_handle: T.handle):
        rows, size = T.int64(), T.int64()
        keys = T.match_buffer(keys_handle, (rows, size), "int64")
        places = T.match_buffer(places_handle, (rows, count), "int64")
        with T.sblock("root"):
            for row in T.parallel(rows):
                with T.sblock("row"):
                    # The one found before, and the best behind it in the order in which they are found.
                    last_key = T.sblock_alloc_buffer((1,), "int64", scope="local")
                    last = T.sblock_alloc_buffer((1,), "int64", scope="local")
                    best_key = T.sblock_alloc_buffer((1,), "int64", scope="local")
                    best = T.sblock_alloc_buffer((1,), "int64", scope="local")
                    last_key[0] = T.max_value("int64")
                    last[0] = T.int64(-1)
                    for n in range(count):
                        best[0] = T.int64(-1)
                        best_key[0] = T.min_value("int64")
                        for i in range(size):
                            tied = T.meta_var(T.And(keys[row, i] == last_key[0], i > last[0]))
                            better = T.meta_var(T.Or(best[0] < T.int64(0), keys[row, i] > best_key[0]))
                            if T.And(T.Or(keys[row, i] < last_key[0], tied), better):
                                best[0] = i
                                best_key[0] = keys[row, i]
                        last[0] = best[0]
                        last_key[0] = best_key[0]
                        places[row, n] = best[0]

    return kernel


def order(cpu: Cpu) -> Any:
    """(keys i64 [M, N], places i64 [M, N]): where each row's keys stand, from the largest on.

    Every key counts those before it: N² comparisons a row.
    """

    @T.prim_func(private=True, s_tir=True)
    def kernel(keys_handle: T.handle, places_handle: T.handle):
        rows, size = T.int64(), T.int64()
        keys = T.match_buffer(keys_handle, (rows, size), "int64")
        places = T.match_buffer(places_handle, (rows, size), "int64")
        with T.sblock("root"):
            for row in T.parallel(rows):
                with T.sblock("row"):
                    before = T.sblock_alloc_buffer((1,), "int64", scope="local")
                    for i in range(size):
                        before[0] = T.int64(0)
                        for j in range(size):
                            first = T.meta_var(T.And(keys[row, j] == keys[row, i], j < i))
                            before[0] += T.Select(T.Or(keys[row, j] > keys[row, i], first), T.int64(1), T.int64(0))
                        places[row, before[0]] = i

    return kernel
