"""Where threads have to wait for each other: before a stage that touches what others may still be working on."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from graphwright.backends.plan.plan import Buffer, Given, Plan, Stage, Temporary


def memory_of(plan: Plan, buffer: Buffer) -> Hashable:
    """What may be written of the memory behind a buffer: a slot, or a tensor of the caller's; None for a weight."""
    if isinstance(buffer, Temporary):
        assert plan.slot_of is not None, "memory is planned before waits are placed"
        return plan.slot_of[buffer]
    return buffer if isinstance(buffer, Given) else None


def with_waits(plan: Plan) -> Plan:
    """The plan with as few waits as its order allows: one before each stage that would otherwise have a hazard."""
    hazards = Hazards(plan)
    launches = [
        replace(launch, stages=tuple(replace(stage, waits=hazards.passes(stage)) for stage in launch.stages))
        for launch in plan.launches
    ]
    return replace(plan, launches=tuple(launches))


class Hazards:
    """What was read and written since threads last met, by all of them and by the first alone."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._meet()

    def passes(self, stage: Stage) -> bool:
        """Whether threads must meet before a stage, which then runs: read after write, write after read or write.

        A stage of one thread sees what the same thread did in stages before.
        """
        shared = stage.extent is not None
        reads, writes = (self._memories(stage, kind) for kind in ("reads", "writes"))
        others = (True, False) if shared else (True,)
        must = any(self._written[o] & (reads | writes) or self._read[o] & writes for o in others)
        if must:
            self._meet()
        self._read[shared] |= reads
        self._written[shared] |= writes
        return must

    def _meet(self) -> None:
        self._read: dict[bool, set[Hashable]] = {True: set(), False: set()}
        self._written: dict[bool, set[Hashable]] = {True: set(), False: set()}

    def _memories(self, stage: Stage, kind: str) -> set[Hashable]:
        found = {memory_of(self._plan, access.buffer) for access in stage.accesses if getattr(access, kind)}
        return found - {None}
