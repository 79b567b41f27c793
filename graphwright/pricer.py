"""Who puts prices on a program: the part of `graphwright.pipeline_run` that knows machines."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from graphwright.errors import UsageError

if TYPE_CHECKING:
    from graphwright.ir import Program
    from graphwright.pipeline_report import Kind, MachineRow, MemoryPoint, Phase, Price, Setting


class Pricer(Protocol):
    """Prices programs in one setting, for one machine or, in bytes and operations alone, for none."""

    @property
    def machine(self) -> MachineRow | None: ...

    def prices(self, program: Program) -> dict[Phase, Price]:
        """What each phase costs."""
        ...

    def kinds(self, program: Program) -> list[Kind]:
        """What the ops of each name cost, phase by phase."""
        ...

    def memory(self, program: Program) -> list[MemoryPoint]:
        """Memory by part at several lengths of the context; nothing for a plain function."""
        ...


def find_pricer(machine: str | None) -> Callable[[Setting], Pricer] | None:
    """What prices in a setting for the machine of that name, or for none. Raises UsageError for an unknown machine."""
    if machine is None:
        return None
    raise UsageError(f"there is no machine {machine!r}")
