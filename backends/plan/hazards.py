"""Where threads have to wait for each other: before a stage that touches what others may still be working on."""

from collections.abc import Hashable
from dataclasses import replace

from graphwright.backends.plan.plan import Buffer, Given, Launch, Plan, Stage, Temporary


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
        replace(launch, stages=tuple(replace(s, waits=hazards.passes(launch, s)) for s in launch.stages))
        for launch in plan.launches
    ]
    return replace(plan, launches=tuple(launches))


def exclude_each_other(one: Stage, other: Stage) -> bool:
    """Whether of two stages of one launch only one does anything: they stand in different arms of a branch."""
    arms = dict(one.arms)
    return any(arms.get(branch, arm) != arm for branch, arm in other.arms)


class Hazards:
    """What has been read and written since threads last met.

    A stage has a hazard with an earlier one where one of them writes memory that the other reads or writes, unless one
    thread runs both, which sees what it did before, or they exclude each other.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._ran: list[tuple[Launch, Stage, set[Hashable], set[Hashable]]] = []

    def passes(self, launch: Launch, stage: Stage) -> bool:
        """Whether threads must meet before a stage of a launch, which then runs."""
        reads, writes = (self._memories(stage, kind) for kind in ("reads", "writes"))
        must = any(
            (written & (reads | writes) or read & writes)
            and not (before.extent is None and stage.extent is None)
            and not (other is launch and exclude_each_other(before, stage))
            for other, before, read, written in self._ran
        )
        if must:
            self._ran.clear()
        self._ran.append((launch, stage, reads, writes))
        return must

    def _memories(self, stage: Stage, kind: str) -> set[Hashable]:
        found = {memory_of(self._plan, access.buffer) for access in stage.accesses if getattr(access, kind)}
        return found - {None}
