"""Runs each architecture in a process of its own, two at a time: a crash or a timeout is a row, not the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.coverage.row import Row


def measured(architectures: Sequence[str], dialect: str, workers: int, seconds: float) -> Iterator[Row]:
    """The rows in the order in which they come; none takes longer than `seconds`."""
    with ThreadPoolExecutor(workers) as pool:
        rows = [pool.submit(isolated, each, dialect, seconds) for each in architectures]
        for row in as_completed(rows):
            yield row.result()


def isolated(architecture: str, dialect: str, seconds: float) -> Row:
    """One row, whatever becomes of the process that measures it."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "row.json"
        command = [sys.executable, "-m", "benchmarks.coverage.worker", architecture, dialect, str(file)]
        try:
            # Two processes share the machine: threads of their own would only get in each other's way.
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=environment)
        except subprocess.TimeoutExpired as late:
            output = (late.stdout or b"").decode()
            return Row(architecture, stage=_last(output), reason=f"not finished after {seconds:.0f} s", seconds=seconds)
        if not file.is_file():
            reason = f"its process ended with status {done.returncode}: {_last(done.stderr)}"
            return Row(architecture, stage=_last(done.stdout), reason=reason)
        return Row(**json.loads(file.read_text(encoding="utf-8")))


def _last(text: str) -> str:
    return next(reversed(text.strip().splitlines()), "nothing")
