"""Where temporaries lie, and between which stages threads meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from graphwright.backends.tvm.region.code import as_constant, key, substitute
from graphwright.backends.tvm.region.plan import ALIGNMENT, plan_workspace
from graphwright.backends.tvm.region.schedule import KernelCall, Place, Schedule, Temporary
from graphwright.backends.tvm.region.stages import Kernel
from graphwright.backends.tvm.region.step import _Waits  # pyright: ignore[reportPrivateUsage]  # its rule is tested
from graphwright.backends.tvm.tvm_library import tirx, tvm

NOTHING = Kernel("nothing", (), (), ())


@dataclass(frozen=True)
class Life:
    """A temporary's bytes (times a dimension if `symbolic`), and the first and last call that uses it."""

    bytes: int
    symbolic: bool
    first: int
    last: int


LIVES = st.lists(
    st.builds(
        lambda size, symbolic, first, length: Life(size, symbolic, first, first + length),
        st.integers(1, 5) | st.sampled_from([64, 100, 128]),
        st.booleans(),
        st.integers(0, 8),
        st.integers(0, 4),
    ),
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(LIVES)
def test_no_two_live_temporaries_share_memory(lives: list[Life]) -> None:
    size = tirx.Var("S", "int64")
    temporaries = [
        Temporary(tirx.IntImm("int64", life.bytes) * size if life.symbolic else tirx.IntImm("int64", life.bytes))
        for life in lives
    ]
    calls = [
        KernelCall(
            NOTHING,
            {
                n: cast(Place, temporary)
                for n, (temporary, life) in enumerate(zip(temporaries, lives, strict=True))
                if index in (life.first, life.last)
            },
            {},
        )
        for index in range(14)
    ]
    plan = plan_workspace(Schedule("step", (), {"S": size}, calls))
    for n, (one, life) in enumerate(zip(temporaries, lives, strict=True)):
        slot = plan.sizes[plan.slots[one]]
        for value in (1, 7):
            bound = tvm.sym.Analyzer().simplify(substitute(slot, {key(size): tirx.IntImm("int64", value)}))
            number = as_constant(bound)
            assert number is not None
            assert number >= life.bytes * (value if life.symbolic else 1)
            assert number % ALIGNMENT == 0
        for other, another in list(zip(temporaries, lives, strict=True))[:n]:
            if life.first <= another.last and another.first <= life.last:
                assert plan.slots[one] != plan.slots[other]


def waits(*stages: tuple[str, str, bool]) -> list[bool]:
    """Whether threads meet before each stage (what it reads, what it writes, whether it is parallel)."""
    rule: Any = _Waits()
    return [rule.needed(frozenset(reads), frozenset(writes), parallel) for reads, writes, parallel in stages]


def test_threads_meet_where_one_reads_what_others_wrote() -> None:
    assert waits(("a", "b", True), ("b", "c", True)) == [False, True]
    assert waits(("a", "b", True), ("b", "c", False)) == [False, True]
    assert waits(("a", "b", False), ("b", "c", True)) == [False, True]


def test_threads_meet_before_what_others_read_is_written() -> None:
    assert waits(("a", "b", True), ("c", "a", True)) == [False, True]
    assert waits(("a", "b", True), ("c", "b", True)) == [False, True]


def test_threads_do_not_meet_without_need() -> None:
    assert waits(("a", "b", True), ("a", "c", True)) == [False, False]
    assert waits(("a", "b", False), ("b", "c", False)) == [False, False], "one thread sees what it did itself"
    assert waits(("a", "b", True), ("b", "c", True), ("b", "d", True)) == [False, True, False], "once is enough"


def test_stages_of_one_thread_are_waited_for_after_the_last_meeting_only() -> None:
    assert waits(("a", "b", False), ("b", "c", True), ("c", "d", False), ("b", "e", False)) == [
        False,
        True,
        True,
        False,
    ]


def test_equal_variables_have_one_key() -> None:
    variable = tirx.Var("S", "int64")
    assert key(variable) == key((variable + 1).a)
