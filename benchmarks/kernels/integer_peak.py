"""How many operations per second the cores reach that multiply and add bytes in registers and do nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.kernels.timing import Run, built
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.codes import add_products, integer_lanes
from graphwright.backends.tvm.kernels.script import iteration, lanes, local, prim_func, root, store, tensor, unrolled
from graphwright.backends.tvm.tvm_library import builder, tvm

SUMS = 12
"""Sums side by side: more than a multiplication takes cycles times those that begin in one."""
TURNS = 500000


def integer_peak_operations(cpu: Cpu, threads: int) -> int:
    """The operations of one run of `integer_peak_runs`: a multiplication and an addition for each of four bytes."""
    return 2 * 4 * SUMS * integer_lanes(cpu) * TURNS * threads


def integer_peak_runs(cpu: Cpu, threads: int) -> list[Run]:
    kernel = built(_peak_kernel(cpu, threads), cpu)
    codes = tvm.runtime.tensor(np.ones(4 * integer_lanes(cpu), np.uint8))
    words = tvm.runtime.tensor(np.ones(1, np.int32))
    sums = tvm.runtime.tensor(np.zeros((threads, SUMS, integer_lanes(cpu)), np.int32))
    return [lambda: kernel(codes, words, sums)]


def _peak_kernel(cpu: Cpu, threads: int) -> Any:
    width = integer_lanes(cpu)

    def multiply_and_add() -> None:
        codes = tensor("codes", (4 * width,), "uint8")
        words = tensor("words", (1,), "int32")
        y = tensor("y", (threads, SUMS, width), "int32")
        every = lanes(0, width)
        with root(), iteration("thread", builder.parallel(threads), threads, [codes, words], [y]) as thread:
            sums = local("sums", (SUMS, width), "int32")
            with unrolled(SUMS) as i:
                store(sums, y[thread, i, every], i, every)
            with builder.serial(TURNS), unrolled(SUMS) as i:
                store(sums, add_products(cpu, sums[i, every], codes[lanes(0, 4 * width)], words[0], 4), i, every)
            with unrolled(SUMS) as i:
                store(y, sums[i, every], thread, i, every)

    return prim_func(multiply_and_add)
