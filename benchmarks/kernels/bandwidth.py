# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""The memory bandwidth that this machine reaches at its best: `python -m benchmarks.kernels.bandwidth [THREADS]`.

A loop that reads an array from front to back leaves half of it unused here, on every thread: its reads all go to the
same channel of memory for a while. So this kernel reads eight places at a time and asks for what comes next a page
ahead. It is the wall that decode speed is held against.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np

from benchmarks.kernels.timing import COLD, Run, built, least_seconds, use_threads
from benchmarks.peers.environments import REPOSITORY
from graphwright.backends.tvm.cpu import Cpu, host_cpu
from graphwright.backends.tvm.tvm_library import T, tvm
from graphwright.runtime.cores import available_cores

STREAMS = 8
STREAM_NUMBERS = 1 << 14
AHEAD = 1 << 10
"""How far ahead memory is asked for, in float32 numbers: a page."""
LINE_NUMBERS = 16
ROUNDS = 60


def measured_bandwidth(threads: int) -> float:
    """Bytes per second, measured in a process of its own, whose memory is gone afterwards."""
    command = [sys.executable, "-m", "benchmarks.kernels.bandwidth", str(threads)]
    return float(subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True).stdout)


def read_runs(cpu: Cpu) -> list[Run]:
    """What reads `COLD` bytes once, for timing beside other kernels."""
    groups = COLD // (4 * STREAMS * STREAM_NUMBERS)
    kernel = built(read_kernel(cpu, groups), cpu)
    numbers = tvm.runtime.tensor(np.ones((groups, STREAMS, STREAM_NUMBERS), np.float32))
    sums = tvm.runtime.tensor(np.zeros((groups, cpu.float_lanes), np.float32))
    return [lambda: kernel(numbers, sums)]


def read_kernel(cpu: Cpu, groups: int) -> Any:
    """Reads x f32 [groups, streams, numbers], all streams of a group at a time, into sums f32 [groups, lanes]."""
    lanes = cpu.float_lanes
    vectors = LINE_NUMBERS // lanes

    @T.prim_func(private=True, s_tir=True)
    def read(
        x: T.Buffer((groups, STREAMS, STREAM_NUMBERS), "float32"),
        sums: T.Buffer((groups, lanes), "float32"),
    ):
        for group in T.parallel(groups):
            with T.sblock("group"):
                parts = T.sblock_alloc_buffer((STREAMS, lanes), "float32", scope="global")
                for s in T.unroll(STREAMS):
                    parts[s, T.ramp(0, 1, lanes)] = T.broadcast(T.float32(0), lanes)
                for line in T.serial(STREAM_NUMBERS // LINE_NUMBERS):
                    for s in T.unroll(STREAMS):
                        T.evaluate(
                            T.call_llvm_intrin(
                                "void", "llvm.prefetch", T.address_of(x[group, s, line * LINE_NUMBERS + AHEAD]), 0, 2, 1
                            )
                        )
                    for s in T.unroll(STREAMS):
                        for v in T.unroll(vectors):
                            parts[s, T.ramp(0, 1, lanes)] = (
                                parts[s, T.ramp(0, 1, lanes)]
                                + x[group, s, T.ramp(line * LINE_NUMBERS + v * lanes, 1, lanes)]
                            )
                for s in T.unroll(1, STREAMS):
                    parts[0, T.ramp(0, 1, lanes)] = parts[0, T.ramp(0, 1, lanes)] + parts[s, T.ramp(0, 1, lanes)]
                sums[group, T.ramp(0, 1, lanes)] = parts[0, T.ramp(0, 1, lanes)]

    return read


def main() -> None:
    use_threads(int(sys.argv[1]) if len(sys.argv) > 1 else available_cores())
    print(COLD / least_seconds({"read": read_runs(host_cpu())}, ROUNDS)["read"])


if __name__ == "__main__":
    main()
