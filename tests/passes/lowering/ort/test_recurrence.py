"""Which recurrences become kernels, what stays a loop and why, and that neither moves more than it must."""

from __future__ import annotations

import pytest
import torch

from graphwright.ir import Interpreter, Program, UnsupportedError, ops, parse_program
from graphwright.ir.dialects.ort import capabilities
from graphwright.ir.rewriting import Outcome
from graphwright.ir.targets import Target
from tests.backends.models import LLAMA, decoder
from tests.passes.lowering.ort.lowered import lower_program

STATE = "state<recurrent f32[B, 4, 3, 2]>"
HEADS = f"""(%x: f32[B, S, 12], %v: f32[B, S, 8], %d: f32[B, S, 4], %new: i64[B], %past: {STATE}) {{
  %k = split_heads(%x) {{heads=4}} : f32[B, 4, S, 3]
  %u = split_heads(%v) {{heads=4}} : f32[B, 4, S, 2]
  %t = transpose(%d) {{permutation=[0, 2, 1]}} : f32[B, 4, S]
  %g = reshape(%t) {{shape=[B, 4, S, 1]}} : f32[B, 4, S, 1]
  %h, %last = linear_recurrence(%k, %k, %u, decay=%g, RATES state=%past, new_length=%new) : f32[B, 4, S, 2], {STATE}
  %y = merge_heads(%h) : f32[B, S, 8]
  return y=%y, last=%last
}}"""
RATES = "weight @rates : f32[4, {keys}] = data([{values}]) : f32[4, {keys}]"


def program(body: str, weights: str = "") -> Program:
    return parse_program(f'program "test"\n{weights}\ngraph forward{body}\n')


def lowered(source: Program, target: Target) -> tuple[list[str], Outcome]:
    """The ops after lowering, which leaves the values as they were."""
    copy = source.clone()
    graph = copy.graphs["forward"]
    outcome = lower_program(copy, graph, target)
    generator = torch.Generator().manual_seed(0)
    inputs: dict[str, torch.Tensor] = {}
    for value in graph.inputs:
        shape = [d.evaluate({"B": 2, "S": 5}) for d in value.type.shape]
        lengths = value.name == "new"
        inputs[str(value.name)] = torch.tensor([5, 2]) if lengths else -torch.rand(shape, generator=generator)
    wanted = Interpreter("float64").run(source.graphs["forward"], inputs)
    found = Interpreter("float64").run(graph, inputs)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value)
    return [op.name for op in graph], outcome


def test_heads_side_by_side_go_into_the_kernel_as_they_lie() -> None:
    names, outcome = lowered(program(HEADS.replace("RATES", "")), capabilities.ORT)
    assert outcome.hits["ort.linear_attention"] == 1
    assert "split_heads" not in names
    assert names.count("merge_heads") == 1  # of the decay, which came another way
    names, _ = lowered(program(HEADS.replace("RATES", "")), capabilities.PORTABLE)
    assert "linear_recurrence" in names


@pytest.mark.parametrize("keys", [1, 3])
def test_rates_for_each_key_are_not_written_out_for_every_token(keys: int) -> None:
    weight = RATES.format(keys=keys, values=", ".join(["0.5", "2.0", "1.0"] * 4)[: 5 * 4 * keys - 2])
    names, outcome = lowered(program(HEADS.replace("RATES", "rates=@rates,"), weight), capabilities.ORT)
    assert ("ort.linear_attention" in names) == (keys == 1)
    reasons = [m.reason for m in outcome.near_misses]
    assert reasons == ([] if keys == 1 else ["its decay for each key would be written out for every token"])


WINDOW = "state<recurrent f32[B, 4, 2]>"
CONV = """(%x: f32[B, 4, S], %w: f32[4, {inputs}, 3], %new: i64[B], %past: {state}) {{
  %y, %last = causal_conv(%x, %w, state=%past, new_length=%new) {{groups={groups}}} : f32[B, 4, S], {state}
  return y=%y, last=%last
}}"""


def test_channels_apart_have_a_kernel() -> None:
    names, _ = lowered(program(CONV.format(inputs=1, groups=4, state=WINDOW)), capabilities.ORT)
    assert names == ["ort.causal_conv"]
    names, _ = lowered(program(CONV.format(inputs=1, groups=4, state=WINDOW)), capabilities.PORTABLE)
    assert names == ["causal_conv"]
    names, outcome = lowered(program(CONV.format(inputs=2, groups=2, state=WINDOW)), capabilities.ORT)
    assert names == ["causal_conv"]
    assert [m.reason for m in outcome.near_misses] == ["its channels are not apart"]


def test_the_interfaces_of_other_tools_have_no_states() -> None:
    from graphwright.ir.text import parse_type
    from graphwright.passes.lowering.ort import HuggingFaceInterface

    program = decoder(LLAMA)
    graph = program.graphs["prefill"]
    past = graph.add_input("past.9.state", parse_type("state<recurrent f32[B, 4]>"))
    graph.outputs["present.9.state"] = past
    with pytest.raises(UnsupportedError, match=r"'past\.9\.state' is state<recurrent f32\[B, 4\]>: these tools"):
        HuggingFaceInterface(whole=True).run(program)


def test_every_op_with_a_state_takes_one_and_the_number_of_new_tokens() -> None:
    """What the insertion of caches relies on."""
    stateful = [ops.causal_conv, ops.running_sum, ops.linear_recurrence, ops.weighted_mean]
    assert all([o.name for o in op.operands[-2:]] == ["state", "new_length"] for op in stateful)
