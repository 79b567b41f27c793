"""The roofline model (Williams et al. 2009): an op takes as long as the scarcest of what it needs."""

from collections.abc import Iterable
from typing import Literal

from graphwright.ir.machines import Machine
from graphwright.ir.pricing.graph_cost import Work

Limit = Literal["compute", "memory", "launch"]


def roofline(work: Work, machine: Machine) -> tuple[float, Limit]:
    """Seconds that the ops take at least, and what binds them: products, memory, or being launched at all."""
    times: dict[Limit, float] = {
        "compute": work.flops / machine.rate(work.dtype),
        "memory": work.bits / 8 / machine.bytes_per_second,
        "launch": work.launches * machine.launch_seconds,
    }
    limit = max(times, key=times.__getitem__)
    return times[limit], limit


def total_time(works: Iterable[Work], machine: Machine) -> tuple[float, Limit]:
    """Seconds of all, one after another, and what most of that time is spent on."""
    spent: dict[Limit, float] = {"compute": 0.0, "memory": 0.0, "launch": 0.0}
    for work in works:
        seconds, limit = roofline(work, machine)
        spent[limit] += seconds
    return sum(spent.values()), max(spent, key=spent.__getitem__)
