"""Conditions on sizes as torch writes them: which restrict nothing, which bound the sequence, which are refused."""

from __future__ import annotations

import time

import pytest

from graphwright.frontend.conditions import LONGEST_TRIED, bound_on_sequence, restricts_nothing
from graphwright.frontend.expression_text import ExpressionError
from graphwright.frontend.guards import Operation, Other, Size, parse_guard

B, S, T = "L['ids'].size()[0]", "L['ids'].size()[1]", "L['inputs'][1].size()[1]"


def tower(base: str, level: str, height: int) -> str:
    for _ in range(height):
        base = level.format(base)
    return base


AXES = {"ids": {0: "B", 1: "S"}, "mask": {0: "B", 1: "T"}}


@pytest.mark.parametrize(
    ("guard", "holds"),
    [
        (f"{S} <= 16", True),
        (f"2 <= {S}", True),
        (f"{S} == {T}", True),
        (f"{S} != 7", True),
        (f"{S}*{B} + 3 != ({S} - 1)*{B}**2", True),
        (f"({S}*min(8, 8*{S})) == (8*{S})", True),
        (f"{S}*min({S}, {S}*{B}) == {S}*{S}", True),
        (f"min({B}, {S})*{S} == {S}*min({S}, {B})", True),
        (f"min({B}*{S}, {B}) == {B}", True),
        (f"min(2, {S})*{S} == 2*{S}", False),
        (f"{S}*{B} == {S}", False),
        (f"{S} == 16", False),
        (f"{S} % 2 == 0", False),
        (f"{S} // 2 != 3", False),
        (f"{S}*2 <= 16", False),
        (f"max({S}, 1) == {S}", False),
        ("L['ids'].stride()[0] == 1", False),
        ("L['ids'].storage_offset() != 0", False),
        (f"{S} < 3 and {B} < 3", False),
        ("L['flag'] == 1", False),
        (tower("9223372036854775807", "({})**16", 20) + f" == {S}", False),
        (tower(S, "({})**16", 20) + f" == {S}", False),
        (tower(f"min({S}, {B})", f"min(({{}})**16, {T})", 10) + f" == {S}", False),
    ],
)
def test_what_restricts_nothing(guard: str, holds: bool) -> None:
    begin = time.process_time()
    assert restricts_nothing(guard) is holds
    assert time.process_time() - begin < 1


@pytest.mark.parametrize(
    "guard",
    [
        f"{S} <= 16",
        f"{S} % 4096 == {S}",
        f"{S}*{S} + 3*{S} <= 1000",
        f"max(1, {S} // 2) < 9 or {S} < 5",
        f"not ({S} > 12) and {S} != 40",
        f"min({S}, 300) - {S} == 0",
        f"-{S} // 5 >= -4",
        f"{S}**3 < 10**9 and 2 < 3",
        f"{S} >= 1",
        f"{S} > 1",
        f"{S} % 2 == 0",
        f"({S} < 5) or ({S} > 10)",
    ],
)
def test_the_bound_is_that_of_python(guard: str) -> None:
    """The condition's own meaning in Python is the judge: this test's text is not a file's."""
    python = compile(guard.replace(S, "length"), "guard", "eval")
    holds = [bool(eval(python, {"length": n, "min": min, "max": max})) for n in range(1, LONGEST_TRIED)]
    bound = next((i for i, held in enumerate(holds) if not held), len(holds))
    wanted = bound if bound and not any(holds[bound:]) else None
    begin = time.process_time()
    assert bound_on_sequence(guard, AXES) == wanted
    assert time.process_time() - begin < 1


@pytest.mark.parametrize(
    "guard",
    [
        f"{B} <= 16",  # another size
        f"{S} <= {B}",
        f"{T} <= 16",
        "L['other'].size()[1] <= 16",  # no input
        "L['inputs'][9].size()[1] <= 16",
        "L['ids'].size()[5] <= 16",
        f"{S} // ({S} - 4) < 9",  # a divisor that is zero somewhere
        f"{S}**7 < 10",  # past what 64 bits hold
        f"{S} + L['ids'].stride()[0] < 9",
        "3 < 4",
        f"{S}.__class__ < 4",
        f"{S} <",
        "",
    ],
)
def test_what_is_no_bound_on_the_sequence(guard: str) -> None:
    assert bound_on_sequence(guard, AXES) is None


def test_the_tree_of_a_condition() -> None:
    assert parse_guard(f"{T} + 2*{S} + 1 >= -3") == Operation(
        ">=", (Operation("+", (Size("inputs", 1, 1), Operation("*", (2, Size("ids", None, 1))), 1)), -3)
    )
    assert parse_guard("L['a']['b'].size()[0] == 1") == Operation("==", (Other("L['a']['b'].size()[0]"), 1))


@pytest.mark.parametrize(
    "text",
    [
        "L['x'].size()[0]", "1", "True", "x < 1", "L < 1", "L['x'].size < 1", "L['x'].data()[0] < 1", "f(1) < 2",
        "L['x'].size()[0:1] < 2", "L['x'].size(1)[0] < 2", "1 < 2 < 3", "1 is 2", "1 in [2]", "(y := 1) < 2", "1.5 < 2",
        "'a' < 'b'", "min(1) < 2", "min(1, 2, key=3) < 2", "min(*[1, 2]) < 2", "2**-1 < 2", "1 / 2 < 1", "1 << 9 < 2",
        "L['x\\'].y'].size()[0] < 1", "L[f'x'].size()[0] < 1", "L['x'].size()[99] < 1", "~1 < 2", "1 if 2 else 3",
        "9223372036854775808 > 1", "lambda: 1", "1 < 2\n", "1 < 2; 3", None, 3, ["1 < 2"],
    ],
)  # fmt: skip
def test_texts_that_are_no_condition(text: object) -> None:
    if text == "1 < 2\n":
        assert parse_guard(text) == Operation("<", (1, 2))  # white space around a condition means nothing
        return
    with pytest.raises(ExpressionError):
        parse_guard(text)
