"""The threads of a step.

A step occupies its threads from beginning to end and lets them wait for each other by spinning. So it needs all of them
at once: TVM must have as many, and two steps must not share the cores.

TVM has a pool of threads for each thread that ever runs a step, and never gives one back. The pool of the main thread
would hold up the end of the process: TVM waits there for threads that, on a busy machine, spin for minutes before they
look whether they are to end, and in a forked child for threads that were never there. So a step on several threads is
handed to a thread of ours that lasts until the process ends, one for each number of threads. A forked child makes
its own.
"""

import os
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from graphwright.runtime.errors import SessionError
from graphwright.runtime.tvm_api import BIG_CORES, PackedFunction, Tvm

POOL_SIZE = "TVM_NUM_THREADS"
"""The variable that TVM reads when it makes a pool, and at every parallel loop, which it runs on one thread unless this
is above 1. Left to itself TVM counts half the cores."""


class _Turn:
    """The lock of the step that runs on several threads, held too while the variable says something else for a moment.

    A fork waits for the step at hand, so that no child begins with a barrier that nobody will pass.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()

    def take(self) -> None:
        self.lock.acquire()

    def give_back(self) -> None:
        self.lock.release()

    def begin_anew(self) -> None:
        """In a child, which has none of the threads of its parent."""
        self.lock = threading.RLock()
        _LASTING.clear()


_TURN = _Turn()


class Threads:
    """Runs functions of libraries on `count` threads. Safe to use from several threads at once."""

    def __init__(self, tvm: Tvm, count: int) -> None:
        self._tvm = tvm
        self.count = count

    def run(self, function: PackedFunction, arguments: Sequence[Any]) -> None:
        """Call the function. Raises what it raises, and SessionError when TVM does not give the threads."""
        if self.count == 1:
            self._prepare_pool()
            function(*arguments)
        else:
            _lasting_thread(self.count).run(self, function, arguments)

    def run_here(self, function: PackedFunction, arguments: Sequence[Any]) -> None:
        """What the lasting thread does of `run`."""
        with _TURN.lock:
            if not self._prepare_pool():
                raise SessionError(f"TVM does not start {self.count} threads; load the model with fewer")
            function(*arguments)

    def _prepare_pool(self) -> bool:
        """Whether a parallel loop in the calling thread now has just as many threads, which it takes from the pool."""
        if not hasattr(_POOL, "made"):
            with _TURN.lock, _pool_size(self.count):
                self._tvm.thread_count()
                _POOL.made = True
        size = os.environ.get(POOL_SIZE, "")
        if self.count > 1 and (not size.isdecimal() or int(size) < 2):
            os.environ[POOL_SIZE] = str(self.count)
        if self._tvm.thread_count() != self.count:
            self._tvm.use_threads(BIG_CORES, self.count)
        return self._tvm.thread_count() == self.count


_POOL = threading.local()
"""Has `made` in a thread whose pool exists."""


@contextmanager
def _pool_size(size: int) -> Generator[None]:
    before = os.environ.get(POOL_SIZE)
    os.environ[POOL_SIZE] = str(size)
    try:
        yield
    finally:
        if before is None:
            del os.environ[POOL_SIZE]
        else:
            os.environ[POOL_SIZE] = before


class _Job:
    """A call that one thread waits for and another does."""

    def __init__(self, threads: Threads, function: PackedFunction, arguments: Sequence[Any]) -> None:
        self._work = threads, function, arguments
        self._error: Exception | None = None
        self._done = threading.Lock()
        self._done.acquire()

    def do(self) -> None:
        threads, function, arguments = self._work
        try:
            threads.run_here(function, arguments)
        except Exception as error:  # raised again by `wait`
            self._error = error
        finally:
            self._done.release()

    def wait(self) -> None:
        self._done.acquire()
        if self._error is not None:
            raise self._error


class _LastingThread:
    """A thread that runs steps, in the order in which they come, until the process ends."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        threading.Thread(target=self._work, name="graphwright-steps", daemon=True).start()

    def run(self, threads: Threads, function: PackedFunction, arguments: Sequence[Any]) -> None:
        job = _Job(threads, function, arguments)
        self._jobs.put(job)
        job.wait()

    def _work(self) -> None:
        while True:
            self._jobs.get().do()


_LASTING: dict[int, _LastingThread] = {}
"""By number of threads: a pool is made for one number."""


def _lasting_thread(count: int) -> _LastingThread:
    # `setdefault` of a dictionary is atomic, but would start a thread each time; the lock may be a long step's.
    found = _LASTING.get(count)
    if found is None:
        with _TURN.lock:
            found = _LASTING.setdefault(count, _LASTING.get(count) or _LastingThread())
    return found


os.register_at_fork(before=_TURN.take, after_in_parent=_TURN.give_back, after_in_child=_TURN.begin_anew)
