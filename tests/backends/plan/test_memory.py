"""Where temporaries lie, and between which stages threads meet."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphwright.backends.plan import Access, Buffer, Launch, Plan, Stage, Stored, Temporary, with_slots, with_waits
from graphwright.backends.plan.memory import is_at_least, lifetimes
from graphwright.backends.plan.plan import ALIGNMENT
from graphwright.ir import Dim, DType, TensorType, tensor
from tests.backends.plan.making import graph

LAUNCHES = 14
GRAPH = graph("%x: f32[S]", *(f"%{n} = exp(%x) : f32[S]" for n in range(LAUNCHES)), outputs="y=%x")
OPS = list(GRAPH)


def plan_of_stages(*launches: tuple[Stage, ...]) -> Plan:
    """A plan of nothing but stages."""
    return Plan(GRAPH, {}, (), {}, tuple(Launch(op, stages) for op, stages in zip(OPS, launches, strict=False)))


def stage(reads: list[Buffer], writes: list[Buffer], shared: bool = True) -> Stage:
    """A stage; a buffer in both lists is read and written."""
    accesses = [Access(b, b in reads, b in writes) for b in dict.fromkeys([*reads, *writes])]
    return Stage("code", Dim.of("S") if shared else None, tuple(accesses), ())


@dataclass(frozen=True)
class Life:
    """A temporary's bytes (times a dimension if `symbolic`), and the first and last launch that accesses it."""

    bytes: int
    symbolic: bool
    first: int
    last: int

    @property
    def type(self) -> TensorType:
        return tensor("u8", self.bytes, "S") if self.symbolic else tensor("u8", self.bytes)


@st.composite
def some_lives(draw: st.DrawFn) -> list[Life]:
    sizes = st.integers(1, 5) | st.sampled_from([64, 100, 128])
    lives: list[Life] = []
    for _ in range(draw(st.integers(0, LAUNCHES))):
        first = draw(st.integers(0, 8))
        lives.append(Life(draw(sizes), draw(st.booleans()), first, first + draw(st.integers(0, 4))))
    return lives


def planned(lives: list[Life]) -> tuple[Plan, dict[Buffer, Life]]:
    """A plan with slots for temporaries of these lives, and the life of each."""
    temporaries: dict[Buffer, Life] = {Temporary(f"t{n}", life.type): life for n, life in enumerate(lives)}
    launches = [
        (stage([], [buffer for buffer, life in temporaries.items() if number in (life.first, life.last)]),)
        for number in range(LAUNCHES)
    ]
    return with_slots(plan_of_stages(*launches)), temporaries


@settings(max_examples=60, deadline=None)
@given(some_lives())
def test_no_two_live_temporaries_share_memory(lives: list[Life]) -> None:
    plan, temporaries = planned(lives)
    assert plan.slot_of is not None
    assert plan.slot_of.keys() == temporaries.keys()
    for size in (1, 7):
        offsets = plan.slot_offsets({"S": size})
        assert all(offset % ALIGNMENT == 0 for offset in offsets)
        places = {
            buffer: range(begin, begin + life.bytes * (size if life.symbolic else 1))
            for buffer, life in temporaries.items()
            for begin in [offsets[plan.slot_of[buffer]]]
        }
        assert all(place.stop <= offsets[-1] for place in places.values())
        for one, life in temporaries.items():
            for other, another in temporaries.items():
                if one is not other and life.first <= another.last and another.first <= life.last:
                    assert places[one].stop <= places[other].start or places[other].stop <= places[one].start


def test_a_life_is_from_the_first_access_to_the_last() -> None:
    one, other = Temporary("one", tensor("f32", 1)), Temporary("other", tensor("f32", 1))
    plan = plan_of_stages((stage([], [one]), stage([one], [other])), (stage([], []),), (stage([one], [other]),))
    assert lifetimes(plan) == {one: (0, 2), other: (0, 2)}


def test_slots_are_shared_by_what_fits() -> None:
    # One behind another: numbers in one slot, which grows, and equal symbolic sizes in one.
    plan, _ = planned([Life(100, False, 0, 0), Life(64, False, 1, 1), Life(128, False, 2, 2), Life(3, False, 3, 3)])
    assert plan.slots == (Dim.of(128),)
    plan, _ = planned([Life(4, True, 0, 0), Life(4, True, 1, 1), Life(5, True, 2, 2), Life(4, True, 3, 3)])
    assert plan.slots == (Dim.of("S") * 4, Dim.of("S") * 5)
    plan, _ = planned([Life(100, False, 0, 1), Life(64, False, 0, 1), Life(64, False, 2, 2), Life(100, False, 2, 2)])
    assert plan.slots == (Dim.of(100), Dim.of(64))
    assert plan.slot_offsets({"S": 1}) == [0, 128, 192]


@pytest.mark.parametrize(
    ("larger", "smaller", "known"),
    [
        ("64", "64", True),
        ("64", "63", True),
        ("63", "64", False),
        ("4*S", "4*S", True),
        ("4*S", "4", True),
        ("4*S", "5", False),
        ("4", "4*S", False),
        ("2*B*S", "B+S", True),  # (B-1)(S-1) and more is left
        ("B*S", "B+S", False),
        ("B*S+1", "B+S", True),
        ("S-1", "0", True),
        ("S-2", "0", False),
        ("q", "q", True),
        ("q+1", "q", True),
        ("q", "0", False),  # of a definition nothing is known
        ("q*S", "q", False),
    ],
)
def test_which_sizes_are_known_to_be_no_less(larger: str, smaller: str, known: bool) -> None:
    assert is_at_least(Dim.of(larger), Dim.of(smaller), frozenset({"B", "S"})) is known


# -- waits

A, B, C, D, E = (Temporary(name, tensor("f32", n + 1)) for n, name in enumerate("abcde"))


def waits(*stages: tuple[list[Buffer], list[Buffer], bool]) -> list[bool]:
    """Whether threads meet before each stage (what it reads, what it writes, whether threads share it)."""
    plan = with_waits(with_all_apart(plan_of_stages(*((stage(*each),) for each in stages))))
    return [each.waits for each in plan.stages]


def with_all_apart(plan: Plan) -> Plan:
    """The plan with a slot for each temporary."""
    slot_of = {buffer: number for number, buffer in enumerate(lifetimes(plan))}
    return replace(plan, slots=tuple(buffer.bytes for buffer in slot_of), slot_of=slot_of)


def test_threads_meet_where_one_reads_what_others_wrote() -> None:
    assert waits(([A], [B], True), ([B], [C], True)) == [False, True]
    assert waits(([A], [B], True), ([B], [C], False)) == [False, True]
    assert waits(([A], [B], False), ([B], [C], True)) == [False, True]


def test_threads_meet_before_what_others_read_is_written() -> None:
    assert waits(([A], [B], True), ([C], [A], True)) == [False, True]
    assert waits(([A], [B], True), ([C], [B], True)) == [False, True]


def test_threads_do_not_meet_without_need() -> None:
    assert waits(([A], [B], True), ([A], [C], True)) == [False, False]
    assert waits(([A], [B], False), ([B], [C], False)) == [False, False], "one thread sees what it did itself"
    assert waits(([A], [B], True), ([B], [C], True), ([B], [D], True)) == [False, True, False], "once is enough"


def test_stages_of_one_thread_are_waited_for_after_the_last_meeting_only() -> None:
    assert waits(([A], [B], False), ([B], [C], True), ([C], [D], False), ([B], [E], False)) == [
        False,
        True,
        True,
        False,
    ]


def test_what_shares_a_slot_is_waited_for() -> None:
    plan = plan_of_stages((stage([], [A]),), (stage([], [B]),))
    slots = (Dim.of(8),)
    assert [s.waits for s in with_waits(replace(plan, slots=slots, slot_of={A: 0, B: 0})).stages] == [False, True]
    assert [s.waits for s in with_waits(with_all_apart(plan)).stages] == [False, False]


def test_weights_are_not_waited_for_and_arms_do_not_wait_for_each_other() -> None:
    weight = Stored("w", tensor("f32", 1), "w", 0)
    assert waits(([weight], [A], True), ([weight], [B], True)) == [False, False]
    one, other = (replace(stage([A], [B]), arms=((0, arm),)) for arm in range(2))
    same = plan_of_stages((one, other), (replace(other, sizes=((Dim.of("S"), DType.I64),)),))
    # The arms of another launch are of another branch.
    assert [s.waits for s in with_waits(with_all_apart(same)).stages] == [False, False, True]
