"""Where temporaries lie in the workspace: two whose lives do not overlap may share a slot."""

from dataclasses import dataclass, replace

from graphwright.backends.plan.plan import Buffer, Plan, Temporary
from graphwright.ir.dims import Dim


@dataclass
class _Slot:
    bytes: Dim
    free_from: int


def is_at_least(larger: Dim, smaller: Dim, symbols: frozenset[str]) -> bool:
    """Whether a size is known to be no less than another, whatever positive integers the symbols are.

    Of other names in a size, such as definitions, nothing is known.
    """
    spare = larger - smaller
    if not spare.symbols <= symbols:
        return False
    # As each symbol is 1 and something more, what has no negative term in that is not negative.
    shifted = spare.substitute({symbol: Dim.of(symbol) + 1 for symbol in spare.symbols})
    return all(coefficient >= 0 for _, coefficient in shifted.terms)


def lifetimes(plan: Plan) -> dict[Buffer, tuple[int, int]]:
    """Of each temporary the first and the last launch that accesses it, in the order of the first."""
    found: dict[Buffer, tuple[int, int]] = {}
    for index, launch in enumerate(plan.launches):
        for access in (access for stage in launch.stages for access in stage.accesses):
            if isinstance(access.buffer, Temporary):
                found[access.buffer] = found.get(access.buffer, (index, index))[0], index
    return found


def with_slots(plan: Plan) -> Plan:
    """The plan with a slot for each temporary, by first fit in the order of the launches.

    Sizes that are numbers share a slot of the nearest size, which grows if it must; a size that depends on a dimension
    shares with an equal one only, since which of two is larger is not known.
    """
    slots: list[_Slot] = []
    chosen: dict[Buffer, int] = {}
    for temporary, (first, last) in lifetimes(plan).items():
        size = temporary.bytes
        number = _fitting(slots, size, first)
        if number is None:
            slots.append(_Slot(size, 0))
            number = len(slots) - 1
        slot = slots[number]
        if size.constant is not None and slot.bytes.constant is not None and size.constant > slot.bytes.constant:
            slot.bytes = size
        slot.free_from = last + 1
        chosen[temporary] = number
    return replace(plan, slots=tuple(slot.bytes for slot in slots), slot_of=chosen)


def _fitting(slots: list[_Slot], size: Dim, first: int) -> int | None:
    free = [n for n, slot in enumerate(slots) if slot.free_from <= first]
    if size.constant is None:
        return next((n for n in free if slots[n].bytes is size), None)
    numbers = [(held, n) for n in free if (held := slots[n].bytes.constant) is not None]
    enough = [(held, n) for held, n in numbers if held >= size.constant]
    if enough:
        return min(enough)[1]
    return max(numbers)[1] if numbers else None
