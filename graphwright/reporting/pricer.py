"""Prices for a run of passes: every program of it in one workload, on one machine or on none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphwright.machines.machine import choose_machine
from graphwright.reporting.pricing import kinds, machine_row, memory_points, price_program

if TYPE_CHECKING:
    from graphwright.ir import Program
    from graphwright.ir.machines import Machine
    from graphwright.reporting.pipeline_report import Kind, MachineRow, MemoryPoint, Phase, Price, Workload

LONGEST = 32768
"""Tokens up to which memory is shown where a model does not say how long its context is."""


@dataclass(frozen=True)
class Pricer:
    """Prices programs in one workload, for one machine or, in bytes and operations alone, for none."""

    on: Machine | None
    workload: Workload

    @property
    def machine(self) -> MachineRow | None:
        return None if self.on is None else machine_row(self.on)

    def prices(self, program: Program) -> dict[Phase, Price]:
        """What each phase costs."""
        return price_program(program, self.workload, self.on)

    def kinds(self, program: Program) -> list[Kind]:
        """What the ops of each name cost, phase by phase."""
        return kinds(program, self.workload, self.on)

    def memory(self, program: Program) -> list[MemoryPoint]:
        """Memory by part at powers of two of the context, up to the model's own."""
        from graphwright.ir.convention import context_window

        longest = context_window(program) or LONGEST
        contexts = [1 << n for n in range(longest.bit_length()) if 1 << n < longest]
        return memory_points(program, self.workload, [*contexts, longest])


def find_pricer(machine: str | None, on_stage: Callable[[str], object] | None = None) -> Callable[[Workload], Pricer]:
    """What prices in a workload for the machine of that name, or for none; `local` is measured if it was not before.

    Raises a user's error for an unknown machine, with the known ones.
    """
    found = None if machine is None else choose_machine(machine, on_stage)
    return lambda workload: Pricer(found, workload)
