"""Choices within a budget of bits, or within one of loss, which is measured because losses do not quite add up."""

from collections.abc import Sequence

from graphwright.ir import PassError
from graphwright.passes.quantization.mixed_precision.choice import Option, cheapest, least_lossy
from graphwright.passes.quantization.mixed_precision.task import Task

TRIES = 8
"""How many choices are made at most to come near a budget of loss."""
NEAR = 0.95
"""The part of a budget that is near enough."""


def within_bits(task: Task, bits: float) -> list[Option]:
    """The choice of least loss with so many bits a weight. Raises `PassError` where there is none."""
    picks = least_lossy(task.rows, bits * task.elements)
    if picks is None:
        least = task.mean_bits([min(row, key=lambda option: option.bits) for row in task.rows])
        raise PassError(
            f"mixed-precision: {_formats(task)} take {least:.3f} bits a weight or more, not bits={bits:g}: "
            "give more bits or a smaller format"
        )
    return picks


def within_loss(task: Task, most: float) -> list[Option]:
    """The fastest choice that was measured to lose no more. Raises `PassError` where there is none.

    The budget of the integer program moves by how far the last choice was off, between those that turned out too small
    and too large.
    """
    best = [min(row, key=lambda option: option.loss) for row in task.rows]
    if (least := task.loss(best)) > most:
        raise PassError(
            f"mixed-precision: {_formats(task)} lose {least:.3g} nats a token or more, at {task.mean_bits(best):.3f} "
            f"bits a weight, not max_kl={most:g}: allow more or add a finer format, such as float"
        )
    small, large = _predicted(best), float("inf")
    budget = max(most, small)
    for _ in range(TRIES):
        picks = cheapest(task.rows, budget)
        if picks is None:
            break
        loss = task.loss(picks)
        if loss > most:
            large = budget
        else:
            small, best = budget, min(best, picks, key=lambda each: sum(option.cost for option in each))
            if loss >= NEAR * most:
                break
        budget = budget * most / loss if loss > 0 else 2 * budget
        if not small < budget < large:
            budget = (small + large) / 2
    return best


def _predicted(picks: Sequence[Option]) -> float:
    return sum(option.loss for option in picks)


def _formats(task: Task) -> str:
    return f"the formats {'+'.join(task.formats)}"
