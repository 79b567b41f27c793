"""How many threads a session should use: one for each physical core this process may occupy; and how many it may."""

import math
import os
from pathlib import Path

from graphwright.runtime.errors import SessionError


def available_cores(system: Path = Path("/sys")) -> int:
    """Physical cores in this process's affinity mask, held to the container's CPU quota; at least 1.

    Two hardware threads of one core share its vector units and its memory port, and a spinning thread takes them
    from its sibling, so siblings count once. Where `system` does not tell siblings apart, each CPU counts.
    """
    cpus = os.sched_getaffinity(0)
    cores = {_siblings(system, cpu) for cpu in cpus}
    quota = _quota(system)
    return max(1, len(cores) if quota is None else min(len(cores), int(quota)))


def usable_cpus(system: Path = Path("/sys")) -> int:
    """Hardware threads in this process's affinity mask, held to the container's CPU quota, rounded up."""
    quota = _quota(system)
    cpus = len(os.sched_getaffinity(0))
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def check_threads(threads: object) -> None:
    """Raise SessionError unless `threads` is None or a number of threads that can all run at once.

    The threads of a step wait for each other by spinning, so one without a CPU keeps all others from their work.
    """
    if threads is None:
        return
    most = usable_cpus()
    range_text = "1" if most == 1 else f"1 to {most}"
    if not isinstance(threads, int) or isinstance(threads, bool) or not 1 <= threads <= most:
        cpus = "1 CPU" if most == 1 else f"{most} CPUs"
        raise SessionError(f"threads is {threads!r}; this process may use {cpus}, so it must be {range_text}")


def _siblings(system: Path, cpu: int) -> str:
    try:
        return (system / f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return str(cpu)


def _quota(system: Path) -> float | None:
    """CPUs of time per period that the container may use (cgroup v2), None when unlimited."""
    try:
        allowed, period = (system / "fs/cgroup/cpu.max").read_text().split()
        return int(allowed) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
