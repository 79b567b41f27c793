"""Whether this machine has the CPU features that a program was compiled for."""

from collections.abc import Iterable
from pathlib import Path

from graphwright.runtime.errors import SessionError


def check_cpu_features(required: Iterable[str], cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Raise SessionError unless `cpuinfo` lists every feature of `required` (`flags` on x86, `Features` on Arm)."""
    required = set(required)
    if not required:
        return
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        raise SessionError(
            f"the program needs the CPU features {', '.join(sorted(required))}, and {cpuinfo} cannot be read "
            "to see whether this machine has them; compile the model on this machine"
        ) from None
    present = {
        flag for line in lines if line.startswith(("flags", "Features")) for flag in line.partition(":")[2].split()
    }
    missing = sorted(required - present)
    if missing:
        raise SessionError(
            f"the program needs CPU features that this machine lacks: {', '.join(missing)}; "
            "compile the model on this machine"
        )
