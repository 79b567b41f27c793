"""Where temporary buffers lie in the workspace: two whose lives do not overlap may share a slot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphwright.backends.tvm.region.code import as_constant
from graphwright.backends.tvm.region.schedule import Schedule, Temporary
from graphwright.backends.tvm.tvm_library import tirx, tvm, tvm_ffi

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector."""
HEAD = 4096
"""Bytes at the beginning of a workspace that hold the barrier's counter."""


@dataclass
class _Slot:
    bytes: Any
    free_from: int


@dataclass(frozen=True)
class Plan:
    """Of each temporary the number of its slot; of each slot its size in bytes, an expression over sizes."""

    slots: dict[Temporary, int]
    sizes: list[Any]


def plan_workspace(schedule: Schedule) -> Plan:
    """Slots by first fit in the order of the calls.

    Sizes that are numbers share a slot of the nearest size, which grows if it must; a size that depends on a dimension
    shares with an equal one only, as others cannot be compared.
    """
    lives: dict[Temporary, list[int]] = {}
    for index, call in enumerate(schedule.calls):
        for place in call.places.values():
            if isinstance(place, Temporary):
                lives.setdefault(place, [index, index])[1] = index
    analyzer = tvm.sym.Analyzer()
    slots: list[_Slot] = []
    chosen: dict[Temporary, int] = {}
    for temporary, (first, last) in sorted(lives.items(), key=lambda item: item[1][0]):
        size = _aligned(analyzer, temporary.bytes)
        number = _fitting(slots, size, first)
        if number is None:
            slots.append(_Slot(size, 0))
            number = len(slots) - 1
        slot = slots[number]
        known, held = as_constant(size), as_constant(slot.bytes)
        if known is not None and held is not None and known > held:
            slot.bytes = size
        slot.free_from = last + 1
        chosen[temporary] = number
    return Plan(chosen, [slot.bytes for slot in slots])


def _aligned(analyzer: Any, size: Any) -> Any:
    known = as_constant(size)
    if known is not None:
        return tirx.IntImm("int64", -(-known // ALIGNMENT) * ALIGNMENT)
    return analyzer.simplify(tirx.floordiv(size + (ALIGNMENT - 1), ALIGNMENT) * ALIGNMENT)


def _fitting(slots: list[_Slot], size: Any, first: int) -> int | None:
    free = [n for n, slot in enumerate(slots) if slot.free_from <= first]
    known = as_constant(size)
    if known is None:
        return next((n for n in free if tvm_ffi.structural_equal(slots[n].bytes, size)), None)
    numbers = [(held, n) for n in free if (held := as_constant(slots[n].bytes)) is not None]
    enough = [(held, n) for held, n in numbers if held >= known]
    if enough:
        return min(enough)[1]
    return max(numbers)[1] if numbers else None
