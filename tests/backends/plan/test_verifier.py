"""Rules of the plan's verifier that no text of a plan breaks, what it allows, and plans of random graphs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphwright.backends.plan import (
    Access,
    Definition,
    Given,
    Launch,
    Plan,
    Stage,
    Temporary,
    verify_plan,
)
from graphwright.ir import Dim, DType, Graph, VerificationError, tensor
from tests.backends.plan.chains import chains
from tests.backends.plan.making import finished, graph, plan_of, whole_plan


def refused(broken: Plan, problem: str) -> None:
    with pytest.raises(VerificationError) as caught:
        verify_plan(broken)
    assert problem in str(caught.value)


def small() -> Plan:
    return whole_plan(graph("%x: f32[S]", "%0 = exp(%x) : f32[S]", "%1 = exp(%0) : f32[S]", outputs="y=%1"))


def with_stage(plan: Plan, number: int, stage: Stage) -> Plan:
    launches = [*plan.launches]
    launches[number] = replace(launches[number], stages=(stage,))
    return replace(plan, launches=tuple(launches))


def test_sizes_are_known() -> None:
    good = small()
    stage = good.launches[0].stages[0]
    refused(
        with_stage(good, 0, replace(stage, extent=Dim.of("T"))), "launch 0: stage 'exp_code' has size T, and 'T' is"
    )
    refused(with_stage(good, 0, replace(stage, sizes=((Dim.of("T"), DType.I64),))), "has size T, and 'T' is not known")
    refused(with_stage(good, 0, replace(stage, sizes=((Dim.of("S"), DType.F32),))), "takes a size as f32")
    refused(replace(good, slots=(Dim.of("T") * 4,)), "slot 0 has size 4*T, and 'T' is not known")
    halved = Definition("floordiv", Dim.of("S"), Dim.of(2))
    later = Definition("max", Dim.of("half"), Dim.of(1))
    known = with_stage(good, 0, replace(stage, extent=Dim.of("half")))
    verify_plan(replace(known, definitions={"half": halved, "more": later}))
    refused(replace(known, definitions={"more": later, "half": halved}), "the definition of 'more' has size half, and")
    refused(replace(known, definitions={"S": halved, "half": halved}), "'S' is defined, and known before")
    for divisor in (Dim.of(0), Dim.of(-1), Dim.of("S") - 1):
        zero = {"half": Definition("floordiv", Dim.of("S"), divisor)}
        refused(replace(known, definitions=zero), f"'half' is divided by {divisor}, which may be no positive number")
    # a quotient may be zero
    nested = {"half": halved, "deep": Definition("floordiv", Dim.of("S"), Dim.of("half"))}
    refused(replace(known, definitions=nested), "'deep' is divided by half, which may be no positive number")


def test_buffers_are_told_apart_and_taken_once_to_write() -> None:
    good = small()
    stage = good.launches[0].stages[0]
    read, written = stage.accesses
    verify_plan(with_stage(good, 0, replace(stage, accesses=(read, read, written))))
    for twice in ((read, written, written), (read, written, replace(written, reads=True, writes=False))):
        problem = "launch 0: stage 'exp_code' takes buffer 't0' 2 times, and writes it"
        refused(with_stage(good, 0, replace(stage, accesses=twice)), problem)
    scratch = Access(Temporary("y", tensor("f32", 4)), False, True)
    named = with_stage(good, 0, replace(stage, accesses=(*stage.accesses, scratch)))
    refused(finished(named), "2 buffers are named 'y'")
    strange = Access(Given("z", tensor("f32", 4)), False, True)
    refused(
        with_stage(good, 0, replace(stage, accesses=(*stage.accesses, strange))), "buffer 'z' is given by no parameter"
    )


def test_launches_are_of_the_graph_and_one_an_op() -> None:
    good, other = small(), small()
    refused(replace(good, launches=(*good.launches, good.launches[1])), "2 launches, it must have one: %1 = exp(%0)")
    refused(replace(good, launches=(*good.launches, other.launches[0])), "<exp at ?> is not an op of its graph")


def test_memory_is_planned() -> None:
    refused(plan_of(small().graph), "memory is not planned: its temporaries have no slots")


def test_a_value_is_read_before_its_buffer_holds_another() -> None:
    """A cache cannot be read as it was once it was appended to."""
    g = graph(
        "%past.0.key: state<contiguous f32[B, 1, C, 4]>, %new: f32[B, 1, 1, 4], %n: i64[B]",
        "%0 = kv_append(%past.0.key, %new, %n) : state<contiguous f32[B, 1, C, 4]>",
        "%1 = kv_read(%past.0.key) : f32[B, 1, C, 4]",
        "%2 = exp(%1) : f32[B, 1, C, 4]",
        outputs="y=%2, present.0.key=%0",
    )
    good = whole_plan(g)
    refused(good, "launch 1: operand '%1': in buffer 'past.0.key' there is '%0': %2 = exp(%1)")
    verify_plan(finished(replace(good, launches=(*reversed(good.launches),))))


def test_an_output_is_there_at_the_end() -> None:
    """An output that another result overwrites; and a state that would come out as another."""
    g = graph("%x: f32[S]", "%0 = exp(%x) : f32[S]", "%1 = neg(%x) : f32[S]", outputs="y=%0")
    good = whole_plan(g)
    (first, second), y = good.launches, good.placement[next(iter(g)).result]
    access = Access(second.stages[0].accesses[0].buffer, True, False), Access(y, False, True)
    over = replace(second, stages=(replace(second.stages[0], accesses=access),))
    placement = {**good.placement, second.op.result: y}
    broken = replace(good, launches=(first, over), placement=placement, slots=(), slot_of={})
    refused(broken, "output 'y': in buffer 'y' there is '%1' at the end")

    states = "%past.0.key: state<contiguous f32[C]>, %past.1.key: state<contiguous f32[C]>"
    refused(
        whole_plan(graph(states, outputs="present.0.key=%past.1.key")), "output 'present.0.key' is in buffer 'past.1."
    )
    verify_plan(whole_plan(graph(states, outputs="present.0.key=%past.0.key")))


def ring(reads: bool, layout: str = "ring") -> Plan:
    """A cache that is appended to in another buffer than its own."""
    of = f"state<{layout} f32[B, 1, 3, 4]>"
    lengths = ", %n" if layout == "ring" else ""
    g = graph(
        f"%past.0.key: {of}, %new: f32[B, 1, 1, 4], %n: i64[B]",
        f"%0 = kv_append(%past.0.key, %new, %n{lengths}) : {of}",
        outputs="present.0.key=%0",
    )
    good = plan_of(g)
    (launch,) = good.launches
    present = Given("present.0.key", tensor("f32", "B", 1, 3, 4))
    old, new, lengths_given = (good.placement[value] for value in g.inputs)
    accesses = (Access(old, reads, False), Access(new, True, False), Access(lengths_given, True, False))
    stage = replace(launch.stages[0], accesses=(*accesses, Access(present, False, True)))
    return finished(
        replace(
            good,
            parameters=(*good.parameters, present),
            placement={**good.placement, launch.op.result: present},
            launches=(Launch(launch.op, (stage,)),),
        )
    )


def test_a_ring_may_be_copied_by_who_reads_it() -> None:
    verify_plan(ring(reads=True))
    refused(
        ring(reads=False), "launch 0: result '%0' is in buffer 'present.0.key', not in place in buffer 'past.0.key'"
    )
    refused(ring(reads=True, layout="contiguous"), "only a ring may be copied, by a launch that reads it")


@pytest.mark.parametrize(
    ("tokens", "line", "name", "needed"),
    [
        ("1", "take_tokens(%x, %n) : f32[B, 2, 4]", "n", False),
        ("3", "take_tokens(%x, %n) : f32[B, 2, 4]", "n", True),
        ("1", "take_tokens(%x, %n) : f32[B, 2, 4]", "x", True),
        ("3", "sub(%x, %x) : f32[B, 3, 4]", "x", False),
        ("3", "neg(%x) : f32[B, 3, 4]", "x", True),
    ],
)
def test_what_cannot_matter_need_not_be_read(tokens: str, line: str, name: str, needed: bool) -> None:
    """Indices where there is one place, and what cancels."""
    good = whole_plan(graph(f"%x: f32[B, {tokens}, 4], %n: i64[B, 2]", f"%0 = {line}", outputs="y=%0"))
    verify_plan(good)
    stage = good.launches[0].stages[0]
    accesses = tuple(access for access in stage.accesses if access.buffer.name != name)
    without = with_stage(good, 0, replace(stage, accesses=accesses))
    if needed:
        refused(without, f"launch 0: no stage reads buffer '{name}' of operand '%{name}'")
    else:
        verify_plan(without)


# -- random plans


@settings(max_examples=40, deadline=None)
@given(chains(), st.data())
def test_plans_of_random_graphs_are_good_and_need_each_of_their_waits(chain: Graph, data: st.DataObject) -> None:
    good = whole_plan(chain)
    verify_plan(good)
    waiting = [n for n, launch in enumerate(good.launches) if launch.stages[0].waits]
    if waiting:
        number = data.draw(st.sampled_from(waiting))
        stage = good.launches[number].stages[0]
        refused(with_stage(good, number, replace(stage, waits=False)), "does not wait for stage")
