"""The images of many variants: those that are kept, and the rest compiled in as many processes as there are cores."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from tempfile import TemporaryDirectory

from graphwright.backends.cuda.emit import TailVariant, Variant
from graphwright.backends.cuda.gpu import Gpu
from graphwright.backends.cuda.image_cache import content_name, keep_image, kept_image
from graphwright.backends.cuda.images import Image, described
from graphwright.backends.cuda.toolchain import toolchain
from graphwright.ir.errors import UnsupportedError
from graphwright.ir.progress import announce

PROGRAM = "graphwright.backends.cuda.compiler_process"


@dataclass(frozen=True)
class Task:
    """A variant that is to be compiled for an architecture."""

    variant: Variant | TailVariant
    gpu: Gpu

    @property
    def kernel(self) -> str:
        return self.variant.kernel


def images_of(tasks: Sequence[Task], *, processes: int | None = None, program: str = PROGRAM) -> list[Image]:
    """The image of each task, in order. Says how far it is by `announce`.

    `processes` is how many compile, by default one for each core. Raises `UnsupportedError`, which names kernel and
    architecture, where one does not compile or a process dies.
    """
    found: dict[Task, Image] = {task: described(task.variant) for task in tasks if task.gpu.emulated}
    real = [task for task in dict.fromkeys(tasks) if not task.gpu.emulated]
    names = {task: content_name(task.variant, task.gpu, toolchain()) for task in real}
    kept = {task: kept_image(name) for task, name in names.items()}
    found |= {task: image for task, image in kept.items() if image is not None}
    missing = [task for task in real if task not in found]
    # Those that take longest first, so that no process has one left when the others are through.
    missing.sort(key=lambda task: task.kernel not in SLOW)
    workers = min(len(missing), processes or len(os.sched_getaffinity(0)))
    if workers:
        with TemporaryDirectory(prefix="graphwright-", ignore_cleanup_errors=True) as folder:
            pool = _Processes(folder, program)
            executor = ThreadPoolExecutor(workers)
            try:
                waiting = {executor.submit(pool.compile, task): task for task in missing}
                for done, future in enumerate(as_completed(waiting)):
                    announce(f"compile kernels: {done + 1} of {len(missing)}")
                    task = waiting[future]
                    found[task] = future.result()
                    keep_image(names[task], found[task])
            finally:
                executor.shutdown(wait=False, cancel_futures=True)
                pool.stop()
                executor.shutdown(wait=True)
                pool.close()
    return [found[task] for task in tasks]


SLOW = ("many_rows", "attention", "few_rows", "one_row")


class _Processes:
    """A process for each thread that asks, started when it first does."""

    def __init__(self, folder: str, program: str) -> None:
        self._environment = {**toolchain().environment, "TRITON_CACHE_DIR": folder, "TMPDIR": folder}
        self._program = program
        self._own = threading.local()
        self._lock = threading.Lock()
        self._started: list[subprocess.Popen[bytes]] = []
        self._stopped = False

    def compile(self, task: Task) -> Image:
        process = self._process()
        assert process.stdin is not None
        assert process.stdout is not None
        where = f"kernel {task.kernel} for {task.gpu.name}"
        try:
            pickle.dump((task.variant, task.gpu), process.stdin)
            process.stdin.flush()
            answer = pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            raise UnsupportedError(f"{where}: the process that compiles it {_end(process.wait())}") from None
        if isinstance(answer, Image):
            return answer
        line, details = answer
        raise UnsupportedError(f"{where}: {line}") from (RuntimeError(details) if details else None)

    def _process(self) -> subprocess.Popen[bytes]:
        if not hasattr(self._own, "process"):
            command = [sys.executable, "-m", self._program]
            with self._lock:
                if self._stopped:
                    raise UnsupportedError("the compilation has ended")
                self._own.process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environment
                )
                self._started.append(self._own.process)
        return self._own.process

    def stop(self) -> None:
        """Ends the processes, whatever they do."""
        with self._lock:
            self._stopped = True
            for process in self._started:
                process.kill()

    def close(self) -> None:
        """Frees what is held of processes that have ended."""
        for process in self._started:
            process.__exit__(None, None, None)


def _end(status: int) -> str:
    """How a process has ended, in words."""
    if status >= 0:
        return f"exited with status {status}"
    name = signal.Signals(-status).name
    return f"died by {name}" + (", perhaps for lack of memory" if name == "SIGKILL" else "")
