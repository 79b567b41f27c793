"""How many threads a session should use: one for each physical core this process may occupy."""

import os
from pathlib import Path


def available_cores(system: Path = Path("/sys")) -> int:
    """Physical cores in this process's affinity mask, held to the container's CPU quota; at least 1.

    Two hardware threads of one core share its vector units and its memory port, and a spinning thread takes them
    from its sibling, so siblings count once. Where `system` does not tell siblings apart, each CPU counts.
    """
    cpus = os.sched_getaffinity(0)
    cores = {_siblings(system, cpu) for cpu in cpus}
    quota = _quota(system)
    return max(1, len(cores) if quota is None else min(len(cores), int(quota)))


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
