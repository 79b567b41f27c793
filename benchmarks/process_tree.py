"""What Linux says about a process and its descendants: processor time, and memory by its own counters."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_KIBIBYTE = 1024


@dataclass(frozen=True)
class PeakMemory:
    """Bytes of a whole process tree, loading included.

    `resident` sums the kernel's high-water mark (VmHWM) of every process: anonymous memory, and pages of mapped files
    that were touched. `anonymous` is the largest sum of RssAnon that was seen, without mapped files; the kernel keeps
    no mark of it, so it is sampled every few milliseconds and can miss a shorter peak. Processes that ended before the
    end of the watch are in neither.
    """

    resident: int
    anonymous: int


def process_tree(root: int, proc: Path = Path("/proc")) -> Iterator[int]:
    """`root` and all its descendants that are alive, `root` first."""
    pending = [root]
    while pending:
        process = pending.pop(0)
        yield process
        with suppress(OSError):  # it, or a thread of it, ended while we looked
            for thread in (proc / str(process) / "task").iterdir():
                pending += map(int, (thread / "children").read_text(encoding="ascii").split())


def processor_seconds(root: int, proc: Path = Path("/proc")) -> float:
    """Processor time that the tree has used so far, in user and kernel mode."""
    ticks = 0
    for process in process_tree(root, proc):
        with suppress(OSError):
            # The second field is the command in parentheses and may itself contain spaces and parentheses.
            stat = (proc / str(process) / "stat").read_text(encoding="ascii", errors="replace")
            fields = stat.rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def status_bytes(root: int, field: str, proc: Path = Path("/proc")) -> int:
    """The sum over the tree of one memory field of /proc/PID/status (VmHWM, RssAnon…), in bytes."""
    total = 0
    for process in process_tree(root, proc):
        with suppress(OSError):
            status = (proc / str(process) / "status").read_text(encoding="ascii", errors="replace")
            lines = (line for line in status.splitlines() if line.startswith(f"{field}:"))
            total += sum(int(line.split()[1]) * _KIBIBYTE for line in lines)
    return total


class MemoryWatch:
    """Samples a tree's anonymous memory in a thread, until `peak` or `end`."""

    _INTERVAL_SECONDS = 0.005

    def __init__(self, root: int) -> None:
        self._root = root
        self._anonymous = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="memory watch", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Sample once more and no longer. A watch that has ended may be ended again."""
        self._ended.set()
        self._thread.join()

    def peak(self) -> PeakMemory:
        """End the watch; the peaks since the tree's processes started, which must still be alive."""
        self.end()
        return PeakMemory(resident=status_bytes(self._root, "VmHWM"), anonymous=self._anonymous)

    def _sample(self) -> None:
        ended = False
        while not ended:
            # The last sample comes after the end was called, so that what was just loaded counts whole.
            ended = self._ended.wait(self._INTERVAL_SECONDS)
            self._anonymous = max(self._anonymous, status_bytes(self._root, "RssAnon"))
