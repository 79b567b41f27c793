"""The driver's end of a worker: starts its process, asks, waits, and explains when it fails."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.environments import REPOSITORY
from benchmarks.peers.protocol import Batch, Decode, Prefill
from benchmarks.process_tree import MemoryWatch, PeakMemory, processor_seconds

# Building and loading billions of parameters from a cold disk takes minutes; an answer that takes longer is a hang.
ANSWER_SECONDS = 1800.0
# Thread pools spin for a while after their work; a pool that never stops would slow every other system down.
QUIET_WINDOW_SECONDS = 0.05
QUIET_DEADLINE_SECONDS = 10.0
# Each worker chooses its own threads: what the driver was started with must not reach them.
_THREAD_VARIABLES = ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "TVM_NUM_THREADS")


class BenchmarkError(Exception):
    """A measurement cannot be made; the message is one line that says which system failed and where to look."""


class WorkerProcess:
    """A worker in a process of its own. Use as a context manager: leaving it ends the process.

    Every method raises BenchmarkError when the worker reports an error, ends, or does not answer in time.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        folder: Path = REPOSITORY,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self.name = name
        self._log = log
        self._answer_seconds = answer_seconds
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as errors:
            try:
                self._process = subprocess.Popen(
                    command,
                    cwd=folder,
                    env={name: value for name, value in os.environ.items() if not name.startswith(_THREAD_VARIABLES)},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                )
            except OSError as error:
                raise BenchmarkError(f"{name}: cannot start {command[0]}: {error.strerror}") from None
        self._watch: MemoryWatch | None = None
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watch is not None:
            self._watch.end()
        if kind is None and self._process.poll() is None:
            self._send({"command": "quit"})
        else:
            self._process.kill()
        try:
            self._process.wait(timeout=QUIET_DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def versions(self) -> dict[str, str]:
        """Versions of the libraries that the worker measures."""
        return cast(dict[str, str], self._ask({"command": "versions"})["versions"])

    def prepare(self, checkpoint: Path, folder: Path, options: dict[str, str]) -> Path:
        """Build from the checkpoint into `folder`; returns the folder that `load` wants."""
        request = {"command": "prepare", "checkpoint": str(checkpoint), "folder": str(folder), "options": options}
        return Path(cast(str, self._ask(request)["folder"]))

    def load(self, folder: Path, options: dict[str, str]) -> None:
        """Make the model ready."""
        self._ask({"command": "load", "folder": str(folder), "options": options})

    def prefill(self, prompt: list[int]) -> Prefill:
        """One timed forward pass over the prompt."""
        return Prefill(**self._ask({"command": "prefill", "prompt": prompt}))

    def decode(self, prompt: list[int], continuation: list[int], tokens_at_once: int = 1) -> Decode:
        """Timed steps of so many tokens over the continuation, after an untimed pass over the prompt."""
        request = {"command": "decode", "prompt": prompt, "continuation": continuation}
        return Decode(**self._ask({**request, "tokens_at_once": tokens_at_once}))

    def batch(self, prompts: list[list[int]], continuations: list[list[int]]) -> Batch:
        """Timed steps of one token of every row over the continuations, after an untimed pass over the prompts."""
        return Batch(**self._ask({"command": "batch", "prompts": prompts, "continuations": continuations}))

    def logits(self, prompt: list[int], continuation: list[int]) -> NDArray[np.float32]:
        """Logits after the prompt and after each token of the continuation, float32 [1 + N, V]."""
        rows = 1 + len(continuation)
        with tempfile.NamedTemporaryFile(prefix="logits-") as file:
            self._ask({"command": "logits", "prompt": prompt, "continuation": continuation, "file": file.name})
            values = np.fromfile(file.name, dtype=np.float32)
        if values.size == 0 or values.size % rows:
            raise BenchmarkError(f"{self.name}: 'logits' answered {values.size} numbers for {rows} rows")
        return values.reshape(rows, -1)

    def watch_memory(self) -> None:
        """From now on sample the memory that the kernel keeps no high-water mark of."""
        self._watch = MemoryWatch(self._process.pid)

    def peak_memory(self) -> PeakMemory:
        """Peaks of the process and its descendants; `watch_memory` must have been called first."""
        assert self._watch is not None
        return self._watch.peak()

    def wait_until_quiet(self) -> None:
        """Return once the idle worker uses no processor time."""
        deadline = time.monotonic() + QUIET_DEADLINE_SECONDS
        used = processor_seconds(self._process.pid)
        while time.monotonic() < deadline:
            time.sleep(QUIET_WINDOW_SECONDS)
            used, before = processor_seconds(self._process.pid), used
            if used == before:
                return
        raise BenchmarkError(f"{self.name}: still uses the processor {QUIET_DEADLINE_SECONDS:.0f} s after its answer")

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        command = request["command"]
        self._send(request)
        try:
            line = self._answers.get(timeout=self._answer_seconds)
        except queue.Empty:
            raise BenchmarkError(f"{self.name}: no answer to {command!r} in {self._answer_seconds:.0f} s") from None
        if not line:
            status = self._process.wait()
            raise BenchmarkError(f"{self.name}: ended with exit status {status} during {command!r}; see {self._log}")
        answer = cast(dict[str, Any], json.loads(line))
        if not answer.pop("ok"):
            raise BenchmarkError(f"{self.name}: {command!r} failed: {answer['error']}; see {self._log}")
        return answer

    def _send(self, request: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the reader notices the end of the process and says what is known about it

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")
