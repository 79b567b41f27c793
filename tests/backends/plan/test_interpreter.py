"""The plan's interpreter against the graph's: doubles, and bytes in poisoned memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from graphwright.backends.plan import Access, Given, Plan, Stage, Temporary, verify_plan
from graphwright.backends.plan.interpreter import POISON, DenseInterpreter, run_bytes, run_values
from graphwright.backends.plan.memory import lifetimes
from graphwright.backends.plan.plan import shown
from graphwright.ir import Dim, Graph, UserError, VerificationError
from tests.backends.plan.chains import chains, inputs_of
from tests.backends.plan.making import finished, graph, plan_of, whole_plan

SIZES = {"B": 2, "S": 3, "C": 7}


def same_bits(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    def bits(tensor: Tensor) -> tuple[object, ...]:
        return tensor.dtype, tensor.shape, tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()

    return one.keys() == other.keys() and all(bits(one[name]) == bits(other[name]) for name in one)


def check(plan: Plan, inputs: Mapping[str, Tensor]) -> None:
    """Both modes give what the graph gives, and leave the inputs as they are."""
    before = {name: tensor.clone() for name, tensor in inputs.items()}
    assert same_bits(run_bytes(plan, inputs), DenseInterpreter("reference").run(plan.graph, inputs))
    assert same_bits(run_values(plan, inputs), DenseInterpreter("float64").run(plan.graph, inputs))
    assert same_bits(inputs, before)


def differs(plan: Plan, inputs: Mapping[str, Tensor], *, values: bool) -> bool:
    """Whether a plan is refused, or gives other bits than its graph."""
    precision = "float64" if values else "reference"
    try:
        found = (run_values if values else run_bytes)(plan, inputs)
    except UserError:
        return True
    return not same_bits(found, DenseInterpreter(precision).run(plan.graph, inputs))


CACHE = graph(
    "%x: bf16[B, S, 4], %past_length: i64[B], %past.0.key: state<contiguous bf16[B, 1, C, 4]>",
    "%0 = mul(%x, @gain) : bf16[B, S, 4]",
    "%1 = reshape(%0) {shape=[B, 1, S, 4]} : bf16[B, 1, S, 4]",
    "%2 = kv_append(%past.0.key, %1, %past_length) : state<contiguous bf16[B, 1, C, 4]>",
    "%3 = kv_read(%2) : bf16[B, 1, C, 4]",
    "%4 = sum(%3) {axes=[2]} : bf16[B, 1, 4]",
    "%5 = add(%0, %4) : bf16[B, S, 4]",
    "%6 = bitcast(@bytes) {to=i8} : i8[4]",
    "%7 = cast(%6) {dtype=bf16} : bf16[4]",
    "%8 = add(%5, %7) : bf16[B, S, 4]",
    "%9 = reshape(%8) {shape=[B*S, 4]} : bf16[B*S, 4]",
    outputs="y=%9, present.0.key=%2",
    weights="weight @gain : bf16[4] = data([1.5, 2.0, -3.0, 4.0]) : bf16[4]\n"
    "weight @bytes : u8[4] = data([1, 2, 250, 4]) : u8[4]",
)
CACHE_INPUTS = {
    "x": torch.linspace(-2, 2, 24).reshape(2, 3, 4).bfloat16(),
    "past_length": torch.tensor([0, 4]),
    "past.0.key": torch.linspace(-1, 3, 56).reshape(2, 1, 7, 4).bfloat16(),
}
STATES = graph(
    "%x: f32[B, S, 4], %past_length: i64[B], %new_length: i64[B], %past.0.key: state<ring f32[B, 1, 3, 4]>, "
    "%past.1.state: state<recurrent f32[B, 4]>",
    "%0, %1 = running_sum(%x, state=%past.1.state, new_length=%new_length) {axis=1} : "
    "f32[B, S, 4], state<recurrent f32[B, 4]>",
    "%2 = reshape(%0) {shape=[B, 1, S, 4]} : f32[B, 1, S, 4]",
    "%3 = kv_append(%past.0.key, %2, %past_length, new_length=%new_length) : state<ring f32[B, 1, 3, 4]>",
    "%4 = kv_read(%3) : f32[B, 1, 3, 4]",
    "%5 = exp(%4) : f32[B, 1, 3, 4]",
    "%6 = dim_value() {value=2*S-1} : i64[]",
    "%7 = iota() {size=S, dtype=i64} : i64[S]",
    "%8 = mul(%7, %6) : i64[S]",
    "%9 = lt(%8, %6) : bool[S]",
    outputs="y=%5, small=%9, present.0.key=%3, present.1.state=%1",
)


@pytest.mark.parametrize("seed", range(2))
def test_views_caches_and_narrow_floats(seed: int) -> None:
    check(whole_plan(CACHE), {**CACHE_INPUTS, "past_length": torch.tensor([seed, 4 - seed])})


@pytest.mark.parametrize("sizes", [SIZES, {"B": 1, "S": 1, "C": 9}, {"B": 3, "S": 5, "C": 5}], ids=str)
def test_rings_and_recurrent_states_at_several_sizes(sizes: dict[str, int]) -> None:
    check(whole_plan(STATES), inputs_of(STATES, {"C": sizes["S"], **sizes}))


def test_a_ring_that_is_copied() -> None:
    """Its result is in the output's buffer, the input stays as it was."""
    good = plan_of(STATES)
    append = next(launch.op for launch in good.launches if launch.op.name == "kv_append")
    present = Given("present.0.key", append.result.tensor)
    views = {value: present for value in good.placement if shown(value) is append.result}
    copied = replace(good, parameters=(*good.parameters, present), placement={**good.placement, **views})
    check(finished(copied), inputs_of(STATES, SIZES))


def test_poison_is_no_number_and_no_index() -> None:
    poison = torch.tensor(list(POISON * 4), dtype=torch.uint8)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert poison.view(dtype).isnan().all()
    for dtype in (torch.int32, torch.int64):
        assert (poison.view(dtype) < -(1 << 16)).all()


def test_inputs_are_checked_as_the_graph_checks_them() -> None:
    plan = whole_plan(CACHE)
    for run in (run_values, run_bytes):
        with pytest.raises(UserError, match=r"input 'x' .* is missing"):
            run(plan, {})
        with pytest.raises(UserError, match="input 'past_length' is int32, expected"):
            run(plan, {**CACHE_INPUTS, "past_length": CACHE_INPUTS["past_length"].int()})


@settings(max_examples=40, deadline=None)
@given(chains(), st.integers(0, 3), st.sampled_from([SIZES, {"B": 1, "S": 1, "C": 2}, {"B": 3, "S": 2, "C": 4}]))
def test_random_plans_give_what_their_graphs_give(chain: Graph, seed: int, sizes: dict[str, int]) -> None:
    check(whole_plan(chain), inputs_of(chain, sizes, seed))


def test_bits_do_not_depend_on_strides() -> None:
    """Of what was transposed, and of an axis of length 1: the graph's interpreter has strides that memory has not."""
    g = graph(
        "%x: f32[B, S, 64], %y: f32[B, 64, 1]",
        "%0 = transpose(%x) {permutation=[0, 2, 1]} : f32[B, 64, S]",
        "%1 = sum(%0) {axes=[1]} : f32[B, S]",
        "%2 = transpose(%y) {permutation=[2, 0, 1]} : f32[1, B, 64]",
        "%3 = matmul(%2, %0) : f32[B, B, S]",
        outputs="y=%1, z=%3",
    )
    draw = torch.Generator().manual_seed(1)
    check(whole_plan(g), {"x": torch.randn(3, 57, 64, generator=draw), "y": torch.randn(3, 64, 1, generator=draw)})


# -- planted faults


def test_two_live_temporaries_in_one_slot_change_the_answer() -> None:
    good = whole_plan(CACHE)
    lives = lifetimes(good)
    slots = dict(good.slot_of or {})
    pairs = [
        (one, other)
        for one, (first, last) in lives.items()
        for other, (begin, end) in lives.items()
        if one is not other and first <= end and begin <= last and one.bytes is other.bytes
    ]
    assert pairs
    for one, other in pairs:
        broken = replace(good, slot_of={**slots, one: slots[other]})
        assert differs(broken, CACHE_INPUTS, values=False), (one.name, other.name)


def test_a_result_in_a_buffer_that_is_still_needed_changes_the_answer() -> None:
    """In that of another result, for all pairs of which one is made while the other is alive; in that of an input."""
    g = graph(
        "%x: f32[B, S]",
        "%0 = exp(%x) : f32[B, S]",
        "%1 = neg(%x) : f32[B, S]",
        "%2 = abs(%1) : f32[B, S]",
        "%3 = add(%0, %2) : f32[B, S]",
        "%4 = mul(%3, %1) : f32[B, S]",
        "%5 = sub(%4, %x) : f32[B, S]",
        outputs="y=%5",
    )
    inputs = {"x": torch.linspace(-2, 2, 6).reshape(2, 3)}
    good = plan_of(g)
    lives = {**lifetimes(good), good.parameters[0]: (-1, len(good.launches))}
    count = 0
    for number, launch in enumerate(good.launches[:-1]):
        mine = good.placement[launch.op.result]
        for buffer in [b for b, (first, last) in lives.items() if first < number <= last]:
            moved = {v: buffer if b is mine else b for v, b in good.placement.items()}
            broken = replace(good, placement=moved)
            assert differs(broken, inputs, values=True)
            assert differs(finished(broken), inputs, values=False)
            count += 1
    assert count == 13


def test_a_wrong_offset_changes_the_answer() -> None:
    """A slot that is said to be smaller than it is begins in the one before, or ends outside."""
    good = whole_plan(CACHE)
    for number in range(len(good.slots)):
        slots = [Dim.of(0) if n == number else size for n, size in enumerate(good.slots)]
        assert differs(replace(good, slots=tuple(slots)), CACHE_INPUTS, values=False), number


def test_a_launch_too_early_or_left_out_is_refused_or_changes_the_answer() -> None:
    for g, inputs in ((CACHE, CACHE_INPUTS), (STATES, inputs_of(STATES, SIZES))):
        good = plan_of(g)
        for number in range(len(good.launches)):
            left_out = replace(good, launches=good.launches[:number] + good.launches[number + 1 :])
            assert differs(left_out, inputs, values=True)
            assert differs(finished(left_out), inputs, values=False)
        early = replace(good, launches=tuple(reversed(good.launches)))
        with pytest.raises(UserError, match=r"plan 'g', launch .: nothing was written to buffer 't.': %"):
            run_values(early, inputs)
        assert differs(finished(early), inputs, values=False)


def test_an_output_elsewhere_changes_the_answer() -> None:
    good = plan_of(CACHE)
    out = next(launch.op.result for launch in good.launches if good.placement[launch.op.results[0]].name == "y")
    elsewhere = Temporary("elsewhere", out.tensor)
    moved = {v: elsewhere if b is good.placement[out] else b for v, b in good.placement.items()}
    assert differs(replace(good, placement=moved), CACHE_INPUTS, values=True)


def test_messages_name_the_launch_and_the_buffer() -> None:
    good = whole_plan(CACHE)
    lost = replace(good, slot_of={b: s for b, s in (good.slot_of or {}).items() if b.name != "t0"})
    with pytest.raises(UserError, match=r"plan 'g', launch 0: buffer 't0' has no slot: %0 = mul\(%x, @gain\)"):
        run_bytes(lost, CACHE_INPUTS)
    missing = replace(good, placement={v: b for v, b in good.placement.items() if b.name != "t0"})
    with pytest.raises(UserError, match=r"launch 1: an operand is in no buffer: %2 = kv_append"):
        run_values(missing, CACHE_INPUTS)
    thin = replace(good, slots=tuple(Dim.of(0) for _ in good.slots))
    with pytest.raises(UserError, match=r"launch 0: buffer 't0' of 48 bytes reaches beyond the workspace"):
        run_bytes(thin, CACHE_INPUTS)


@settings(max_examples=60, deadline=None)
@given(chains(), st.data())
def test_what_the_verifier_lets_through_gives_what_the_graph_gives(chain: Graph, data: st.DataObject) -> None:
    """A random plan with one random change: another slot, another place of a result, another order."""
    good = whole_plan(chain)
    slots = dict(good.slot_of or {})
    temporaries = sorted(slots, key=lambda buffer: buffer.name)
    match data.draw(st.integers(0, 2)) if temporaries else 2:
        case 0:
            slot = data.draw(st.integers(0, len(good.slots) - 1))
            changed = replace(good, slot_of={**slots, data.draw(st.sampled_from(temporaries)): slot})
        case 1:
            one, other = (data.draw(st.sampled_from(temporaries)) for _ in range(2))

            def moved(access: Access) -> Access:
                return replace(access, buffer=other) if access.buffer is one else access

            def taken(stage: Stage) -> Stage:
                found = {access.buffer: access for access in map(moved, stage.accesses)}
                return replace(stage, accesses=tuple(found.values()))

            launches = [replace(each, stages=tuple(map(taken, each.stages))) for each in good.launches]
            placement = {v: other if b is one else b for v, b in good.placement.items()}
            changed = finished(replace(good, placement=placement, launches=tuple(launches)))
        case _:
            changed = finished(replace(good, launches=tuple(data.draw(st.permutations(good.launches)))))
    try:
        verify_plan(changed)
    except VerificationError:
        return
    check(changed, inputs_of(chain, SIZES))
