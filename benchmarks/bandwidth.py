"""The memory bandwidth that this machine reaches now: every core reads its part of an array far larger than the caches.

`python -m benchmarks.bandwidth` prints it in bytes per second. Decoding one token reads every weight once, so this is
the wall that decode speed is held against.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.environments import REPOSITORY

ARRAY_BYTES = 1 << 30
PASSES = 8


def read_bandwidth(array_bytes: int = ARRAY_BYTES, passes: int = PASSES) -> float:
    """Bytes per second of the fastest pass over the array, with a thread for every core."""
    cores = len(os.sched_getaffinity(0))
    parts = np.array_split(np.ones(array_bytes // 8, dtype=np.int64), cores)
    fastest = float("inf")
    with ThreadPoolExecutor(cores) as pool:
        for _ in range(passes):
            start = time.perf_counter()
            list(pool.map(_read, parts))
            fastest = min(fastest, time.perf_counter() - start)
    return array_bytes / fastest


def measured_bandwidth() -> float:
    """`read_bandwidth` in a process of its own, whose memory is gone afterwards."""
    command = [sys.executable, "-m", "benchmarks.bandwidth"]
    return float(subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True).stdout)


def _read(part: NDArray[np.int64]) -> None:
    # An integer maximum is vectorized, costs next to nothing beside the loads, and releases the interpreter's lock.
    np.max(part)


if __name__ == "__main__":
    print(read_bandwidth())
