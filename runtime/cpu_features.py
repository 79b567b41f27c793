"""Which version of a program this machine has the CPU features for."""

from collections.abc import Sequence
from pathlib import Path

from graphwright.runtime.artifact import Program
from graphwright.runtime.errors import SessionError

CPUINFO = Path("/proc/cpuinfo")


def fitting_version(program: Program, cpuinfo: Path = CPUINFO) -> Program:
    """The first version of the program whose features `cpuinfo` lists (`flags` on x86, `Features` on Arm).

    Raises SessionError, which says what this machine lacks for each, where there is none.
    """
    versions = program.versions
    present = _listed(cpuinfo)
    for version in versions:
        if not version.cpu_features or (present is not None and present.issuperset(version.cpu_features)):
            return version
    if present is None:
        raise SessionError(
            f"the program needs the CPU features {_each(versions, frozenset())}, and {cpuinfo} cannot be read "
            "to see whether this machine has them; compile the model on this machine"
        )
    raise SessionError(
        f"the program needs CPU features that this machine lacks: {_each(versions, present)}; "
        "compile the model on this machine"
    )


def _listed(cpuinfo: Path) -> frozenset[str] | None:
    """None where the file cannot be read."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return None
    return frozenset(
        flag for line in lines if line.startswith(("flags", "Features")) for flag in line.partition(":")[2].split()
    )


def _each(versions: Sequence[Program], present: frozenset[str]) -> str:
    """What is not there of each version's features."""
    missing = [", ".join(sorted({*version.cpu_features} - present)) for version in versions]
    if len(versions) == 1:
        return missing[0]
    return "; ".join(f"for {version.target} {each}" for version, each in zip(versions, missing, strict=True))
