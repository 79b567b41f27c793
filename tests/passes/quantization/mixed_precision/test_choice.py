"""The integer program against all choices there are."""

from __future__ import annotations

import itertools
import random
import sys

import pytest

from graphwright.ir import PassError
from graphwright.passes.quantization.mixed_precision.choice import Option, cheapest, least_lossy


def options(seed: int, weights: int) -> list[list[Option]]:
    generator = random.Random(seed)
    return [
        [
            Option(format, loss * 10 ** generator.uniform(-6, -2), bits * size / 8e9, bits * size)
            for format, bits, loss in (("i4-g128", 4, 1.0), ("i4-g32", 5, 0.6), ("i8-g0", 8, 0.004), ("float", 32, 0.0))
        ]
        for size in (generator.choice([4096, 65536, 1 << 20]) for _ in range(weights))
    ]


@pytest.mark.parametrize("seed", range(4))
def test_no_choice_is_better(seed: int) -> None:
    rows = options(seed, 6)
    every = list(itertools.product(*rows))
    least = min(sum(o.loss for o in each) for each in every)
    most = max(sum(o.loss for o in each) for each in every)
    for budget in (least + (most - least) * part for part in (1e-4, 0.01, 0.3, 1.0)):
        found = cheapest(rows, budget)
        assert found is not None
        assert sum(o.loss for o in found) <= budget * (1 + 1e-6)
        best = min(sum(o.cost for o in each) for each in every if sum(o.loss for o in each) <= budget)
        assert sum(o.cost for o in found) <= best * (1 + 1e-6)
    elements = sum(row[0].bits // 4 for row in rows)
    for bits in (4.0, 4.5, 6.0, 40.0):
        picks = least_lossy(rows, bits * elements)
        assert picks is not None
        assert sum(o.bits for o in picks) <= bits * elements * (1 + 1e-6)
        best = min(sum(o.loss for o in each) for each in every if sum(o.bits for o in each) <= bits * elements)
        # The solver's gap of 1e-6 is one of the objective in units of the largest loss of an option.
        assert sum(o.loss for o in picks) <= best + 1e-6 * max(o.loss for row in rows for o in row)


def test_a_budget_that_nothing_meets() -> None:
    rows = options(0, 3)
    assert least_lossy(rows, 3.9 * sum(row[0].bits // 4 for row in rows)) is None
    assert cheapest([row[:3] for row in rows], 1e-12) is None


def test_three_hundred_weights() -> None:
    rows = options(7, 300)
    found = cheapest(rows, 0.02)
    assert found is not None
    assert len({o.format for o in found}) > 1
    assert sum(o.loss for o in found) <= 0.02 * (1 + 1e-6)


def test_a_missing_solver_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(
        PassError, match=r"needs scipy: in the clone of Graphwright, run `pip install -e '\.\[compile\]'`"
    ):
        cheapest(options(0, 2), 1e9)
