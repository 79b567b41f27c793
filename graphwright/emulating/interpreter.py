"""The processes that interpret kernels over the memory of the emulated device: what it is asked, and that they end."""

from __future__ import annotations

import atexit
import os
import pickle
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
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
    """A launch of a kernel in Triton, or without constants of `library:function`: `programs` of it from `first` on.

    `written` are the pointers that a kernel in Triton may write through.
    """

    body: str
    programs: int
    arguments: Sequence[Argument]
    constants: Mapping[str, Any] | None
    written: frozenset[str]
    first: int = 0


PROGRAMS = 8
"""Of a launch, for which another process is worth it."""


class Interpreter:
    """Processes that share a launch's programs, started when a launch needs them: others take the place of any that
    ended. Programs do not depend on each other, and so they may run at the same time."""

    def __init__(self, memory: int, size: int) -> None:
        self._memory, self._size = memory, size
        self._workers: list[subprocess.Popen[bytes]] = []
        atexit.register(self._stop)

    def ask(self, request: Request, time_limit: float) -> str | None:
        """Runs a launch; gives what is wrong with it. `time_limit` is in seconds."""
        shares = _shares(request, len(os.sched_getaffinity(0)))
        self._workers += [self._started() for _ in range(len(shares) - len(self._workers))]
        problem: str | None = None
        try:
            for worker, share in zip(self._workers, shares, strict=False):
                assert worker.stdin is not None
                pickle.dump(share, worker.stdin)
                worker.stdin.flush()
            until = time.monotonic() + time_limit
            for worker, _ in zip(self._workers, shares, strict=False):
                assert worker.stdout is not None
                if not select.select([worker.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
                    self._stop()
                    return f"it did not end within {time_limit:g} s"
                answer = pickle.load(worker.stdout)
                problem = problem or answer
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            ended = next((status for worker in self._workers if (status := _status(worker)) is not None), 0)
            self._stop()
            return f"it ended the process that interprets it, {_end(ended)}"
        return problem

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "graphwright.emulating.worker", str(self._memory), str(self._size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(self._memory,),
            env={**os.environ, "TRITON_INTERPRET": "1"},
        )

    def _stop(self) -> None:
        for worker in self._workers:
            worker.kill()
            worker.wait()
        self._workers = []


def _shares(request: Request, processes: int) -> list[Request]:
    """The launch in parts of neighbouring programs; whole where it has few, or is a function of a library."""
    count = 1 if request.constants is None else max(1, min(processes, request.programs // PROGRAMS))
    bounds = [request.programs * i // count for i in range(count + 1)]
    return [replace(request, first=begin, programs=end - begin) for begin, end in pairwise(bounds)]


def _status(worker: subprocess.Popen[bytes]) -> int | None:
    """How the process has ended, or is about to; None while it goes on."""
    try:
        return worker.wait(1)
    except subprocess.TimeoutExpired:
        return None


def _end(status: int) -> str:
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
