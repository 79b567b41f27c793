"""One format for each weight, at least cost within a budget: a multiple-choice knapsack, as an integer program."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy

from graphwright.ir import PassError

SECONDS = 60.0
"""After which the best choice that was found so far is taken; hundreds of weights take well under a second."""


INFEASIBLE = 2
"""The solver's status where no choice meets the constraints."""


@dataclass(frozen=True)
class Option:
    """A weight in one format: what it is thought to lose, in nats a token, what decoding it costs, and its bits."""

    format: str
    loss: float
    cost: float
    bits: int


def cheapest(options: Sequence[Sequence[Option]], most_loss: float) -> list[Option] | None:
    """Of each weight an option, so that the losses add up to `most_loss` at most and the cost is least."""
    return _choose(options, lambda option: option.cost, lambda option: option.loss, most_loss)


def least_lossy(options: Sequence[Sequence[Option]], most_bits: float) -> list[Option] | None:
    """Of each weight an option, so that their bits add up to `most_bits` at most and the loss is least."""
    return _choose(options, lambda option: option.loss, lambda option: option.bits, most_bits)


def _choose(
    options: Sequence[Sequence[Option]],
    objective: Callable[[Option], float],
    amount: Callable[[Option], float],
    limit: float,
) -> list[Option] | None:
    """None where no choice stays within the limit. Raises `PassError` where the solver finds none in its time."""
    try:
        optimize: Any = import_module("scipy.optimize")  # untyped
    except ImportError:
        raise PassError(
            "choosing formats by a budget needs scipy: in the clone of Graphwright, run `pip install -e '.[compile]'`"
        ) from None

    every = [option for row in options for option in row]
    rows = numpy.repeat(numpy.arange(len(options)), [len(row) for row in options])
    costs, amounts = (numpy.array([of(option) for option in every], float) for of in (objective, amount))
    # One variable for each option of each weight, 1 where it is taken; in units of the limit and of the dearest option,
    # so that the solver's absolute tolerances are relative ones.
    unit = limit if limit > 0 else 1.0
    possible = amounts <= limit
    one_each = optimize.LinearConstraint((rows[None] == numpy.arange(len(options))[:, None]).astype(float), 1, 1)
    budget = optimize.LinearConstraint(numpy.where(possible, amounts / unit, 0.0)[None], -numpy.inf, limit / unit)
    found = optimize.milp(
        costs / (costs.max() or 1.0),
        integrality=numpy.ones(len(every)),
        bounds=optimize.Bounds(0, possible.astype(float)),
        constraints=[one_each, budget],
        options={"time_limit": SECONDS, "mip_rel_gap": 1e-6},
    )
    if found.x is None:
        if found.status == INFEASIBLE:
            return None
        raise PassError(f"mixed-precision: the solver found no choice of formats: {found.message}")
    # Up to the solver's tolerance one variable of each weight is 1 and the others are 0.
    return [option for option, taken in zip(every, found.x, strict=True) if taken > 0.5]
