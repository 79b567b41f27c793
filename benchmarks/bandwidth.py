"""The memory bandwidth that this machine reaches now.

`python -m benchmarks.bandwidth` prints what numpy reaches, in bytes per second. Decoding one token reads every weight
once, so bandwidth is the wall that decode speed is held against.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

from benchmarks.peers.environments import REPOSITORY
from graphwright.machines.microbenchmarks import read_bandwidth

KERNEL = "benchmarks.kernels.bandwidth"


def measured_bandwidth() -> float:
    """Bytes per second by the best of the readers, each in a process of its own, whose memory is gone afterwards."""
    return max(_printed(*reader) for reader in readers())


def readers() -> list[tuple[str, ...]]:
    """Modules that print the bandwidth they reach, with their arguments: numpy's, and our kernel's where TVM is."""
    found: list[tuple[str, ...]] = [("benchmarks.bandwidth",)]
    kernel = REPOSITORY.joinpath(*KERNEL.split(".")).with_suffix(".py")
    if kernel.is_file() and importlib.util.find_spec("tvm"):
        found.append((KERNEL, str(len(os.sched_getaffinity(0)))))
    return found


def _printed(*reader: str) -> float:
    command = [sys.executable, "-m", *reader]
    return float(subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True).stdout)


if __name__ == "__main__":
    print(read_bandwidth())
