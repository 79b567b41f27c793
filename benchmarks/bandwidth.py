"""The memory bandwidth that this machine reaches now.

`python -m benchmarks.bandwidth` prints it in bytes per second. Decoding one token reads every weight once, so this is
the wall that decode speed is held against.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.peers.environments import REPOSITORY
from graphwright.measurement import read_bandwidth


def measured_bandwidth() -> float:
    """`read_bandwidth` in a process of its own, whose memory is gone afterwards."""
    command = [sys.executable, "-m", "benchmarks.bandwidth"]
    return float(subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True).stdout)


if __name__ == "__main__":
    print(read_bandwidth())
