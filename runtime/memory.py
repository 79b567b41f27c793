"""How much memory there is to ask for."""

import os
from contextlib import suppress
from functools import cache
from pathlib import Path


@cache
def total_memory(system: Path = Path("/sys")) -> int:
    """Bytes of the machine's memory, held to the container's bound on it; nothing larger can ever be had at once."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):
        total = min(total, int((system / "fs/cgroup/memory.max").read_text()))
    return total
