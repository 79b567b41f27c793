"""Launches of a plan that do not wait for each other may run in any order: they are run in both."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from graphwright.runtime import SessionError
from tests.emulator.faults import GRAPH, Program
from tests.emulator.test_faults import emulated, loaded, plan, run


def turned(program: Program, waits: Sequence[bool]) -> Program:
    """The launches between two waits in reverse."""
    changed = deepcopy(program)
    launches = changed["graphs"][GRAPH]["launches"]
    begins = [0, *(i for i, waits_there in enumerate(waits) if waits_there and i), len(launches)]
    changed["graphs"][GRAPH]["launches"] = [
        each for begin, end in pairwise(begins) for each in reversed(launches[begin:end])
    ]
    return changed


def results(program: Program) -> list[npt.NDArray[Any]]:
    """All that two steps give: logits, and tokens."""
    return [each for tokens in (False, True) for each in run(loaded(program), 1, (1, 1), tokens=tokens)]


def waits_of_the_plan() -> list[bool]:
    return [stage.waits for stage in plan().stages]


def test_launches_without_a_path_between_them_run_in_both_orders() -> None:
    program, waits = emulated(), waits_of_the_plan()
    other = turned(program, waits)
    assert other != program, "some launches do not wait for those before them"
    one, turned_round = (results(each) for each in (program, other))
    assert all(np.array_equal(a, b) for a, b in zip(one, turned_round, strict=True))


@pytest.mark.parametrize("number", [0, 3, -1])
def test_a_wait_that_is_missing_shows(number: int) -> None:
    program, waits = emulated(), waits_of_the_plan()
    there = [i for i, waits_there in enumerate(waits) if waits_there]
    waits[there[number]] = False
    # Of one token alone attention is the same at any position.
    right = results(program)
    try:
        found = results(turned(program, waits))
    except SessionError:
        return  # what was never written is no length of anything
    assert not all(np.array_equal(a, b) for a, b in zip(right, found, strict=True))
