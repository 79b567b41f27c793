# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""How many float32 operations per second the cores reach that multiply and add in registers and do nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.kernels.timing import Run, built
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.tvm_library import T, tvm

SUMS = 12
"""Sums side by side: more than a multiplication takes cycles times those that begin in one."""
TURNS = 500000
"""So many that a run takes milliseconds, beside which the start of the threads is nothing."""


def peak_flops(cpu: Cpu, threads: int) -> int:
    """The operations of one run of `peak_runs`."""
    return 2 * SUMS * cpu.float_lanes * TURNS * threads


def peak_runs(cpu: Cpu, threads: int) -> list[Run]:
    kernel = built(_peak_kernel(cpu, threads), cpu)
    half = tvm.runtime.tensor(np.full(cpu.float_lanes, 0.5, np.float32))
    sums = tvm.runtime.tensor(np.zeros((threads, SUMS, cpu.float_lanes), np.float32))
    return [lambda: kernel(half, sums)]


def _peak_kernel(cpu: Cpu, threads: int) -> Any:
    lanes = cpu.float_lanes

    @T.prim_func(private=True, s_tir=True)
    def multiply_and_add(x: T.Buffer((lanes,), "float32"), y: T.Buffer((threads, SUMS, lanes), "float32")):
        for thread in T.parallel(threads):
            with T.sblock("thread"):
                sums = T.sblock_alloc_buffer((SUMS, lanes), "float32", scope="global")
                factor = T.sblock_alloc_buffer((lanes,), "float32", scope="global")
                factor[T.ramp(0, 1, lanes)] = x[T.ramp(0, 1, lanes)]
                for i in T.unroll(SUMS):
                    sums[i, T.ramp(0, 1, lanes)] = T.broadcast(T.float32(0), lanes)
                for _turn in T.serial(TURNS):
                    for i in T.unroll(SUMS):
                        sums[i, T.ramp(0, 1, lanes)] = (
                            sums[i, T.ramp(0, 1, lanes)] * factor[T.ramp(0, 1, lanes)] + factor[T.ramp(0, 1, lanes)]
                        )
                for i in T.unroll(SUMS):
                    y[thread, i, T.ramp(0, 1, lanes)] = sums[i, T.ramp(0, 1, lanes)]

    return multiply_and_add
