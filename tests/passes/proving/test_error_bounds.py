"""Distances, bounds, and what a measurement of a lossy pass says."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch

from graphwright.ir import Graph
from graphwright.passes.proving.answers import Answer, Step
from graphwright.passes.proving.error_bounds import FACTOR, ErrorBounds, distances, divergence
from tests.tensors import listed

NAN, INF = float("nan"), float("inf")


def answer(values: list[list[float]], *places: int) -> Answer:
    return Answer("case", "key", torch.tensor(places), torch.tensor(values), Step(Graph(), {}))


@pytest.mark.parametrize(
    ("found", "wanted", "distance"),
    [
        ([1.0, 2.0], [1.0, 2.5], 0.5),
        ([NAN, 1.0], [NAN, 1.0], 0.0),
        ([NAN, 1.0], [0.0, 1.0], INF),
        ([0.0, 1.0], [NAN, 1.0], INF),
        ([INF, -INF], [INF, -INF], 0.0),
        ([INF, 0.0], [-INF, 0.0], INF),
        ([INF, 0.0], [1.0, 0.0], INF),
    ],
)
def test_distance_of_a_place(found: list[float], wanted: list[float], distance: float) -> None:
    assert listed(distances(torch.tensor([found]), torch.tensor([wanted]))) == [distance]


def test_another_shape_is_infinitely_far() -> None:
    assert listed(distances(torch.zeros(2, 3), torch.zeros(2, 4))) == [INF, INF]


def test_the_worst_place_is_that_furthest_beyond_its_own_bound() -> None:
    bounds = ErrorBounds({"key": torch.zeros(3, 2)}, {"key": torch.tensor([1.0, 0.25, 0.0])}, 0.0)
    worst = bounds.worst([answer([[2.0, 0.0], [0.0, 0.5], [0.0, 0.0]], 0, 1, 2)])
    assert (worst.error, worst.bound, worst.ratio) == (2.0, FACTOR, 0.5)
    assert bounds.worst([answer([[2.0, 0.0]], 1)]).ratio == 2.0
    # Where nothing is rounded, nothing may differ.
    assert bounds.worst([answer([[1e-30, 0.0]], 2)]).ratio == INF
    assert bounds.worst([answer([[0.0, 0.0]], 2)]).ratio == 0.0


def test_the_first_answer_beyond_its_bound_ends_the_search() -> None:
    asked: list[int] = []

    def answers() -> Iterator[Answer]:
        for i, value in enumerate((1.0, 9.0, 99.0)):
            asked.append(i)
            yield answer([[value, 0.0]], 0)

    bounds = ErrorBounds({"key": torch.zeros(1, 2)}, {"key": torch.tensor([1.0])}, 0.0)
    assert bounds.worst(answers()).error == 9.0
    assert asked == [0, 1]


def test_divergence_of_known_distributions() -> None:
    truth = {"key": torch.tensor([[0.0, 0.0], [0.0, math.log(3.0)]])}
    kl, error = divergence([answer([[0.0, 0.0]], 0), answer([[0.0, 0.0]], 1)], truth)
    # The second: one quarter and three quarters against two halves.
    second = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    assert kl == pytest.approx(second / 2, rel=1e-6)
    assert error == pytest.approx(math.log(3.0), rel=1e-6)


def test_rounding_is_a_median_so_one_turned_choice_does_not_count() -> None:
    bounds = ErrorBounds({"key": torch.zeros(3, 1)}, {"key": torch.tensor([0.5, 0.25, 7.0])}, 0.0)
    median, overflows = bounds.rounding([answer([[0.1], [INF], [0.2]], 0, 1, 2)])
    assert (median, overflows) == (pytest.approx(0.2), 1)
    assert bounds.float32_rounding == 0.5
