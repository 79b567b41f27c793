"""The process that interprets kernels over the memory of the emulated device: what it is asked, and that it ends."""

from __future__ import annotations

import atexit
import os
import pickle
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Region:
    """Memory of the device with one content. `constant`: no launch writes it."""

    name: str
    begin: int
    bytes: int
    constant: bool


@dataclass(frozen=True)
class Argument:
    """One of a launch. A pointer's value is the distance from the beginning of the device's memory, as its region's."""

    name: str
    kind: str
    value: int
    region: Region | None


@dataclass(frozen=True)
class Request:
    """A launch of a kernel in Triton, or without constants of `library:function`.

    `written` are the pointers that a kernel in Triton may write through.
    """

    body: str
    programs: int
    arguments: Sequence[Argument]
    constants: Mapping[str, Any] | None
    written: frozenset[str]


class Interpreter:
    """Starts a process when a launch needs one, so that another takes the place of one that ended."""

    def __init__(self, memory: int, size: int) -> None:
        self._memory, self._size = memory, size
        self._worker: subprocess.Popen[bytes] | None = None
        atexit.register(self._stop)

    def ask(self, request: Request, time_limit: float) -> str | None:
        """Runs a launch; gives what is wrong with it. `time_limit` is in seconds."""
        worker = self._worker = self._worker or self._started()
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            pickle.dump(request, worker.stdin)
            worker.stdin.flush()
            if not select.select([worker.stdout], [], [], time_limit)[0]:
                self._stop()
                return f"it did not end within {time_limit:g} s"
            return pickle.load(worker.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            self._worker = None
            return f"it ended the process that interprets it, {_end(worker.wait())}"

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "graphwright.emulating.worker", str(self._memory), str(self._size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(self._memory,),
            env={**os.environ, "TRITON_INTERPRET": "1"},
        )

    def _stop(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker.wait()
            self._worker = None


def _end(status: int) -> str:
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
