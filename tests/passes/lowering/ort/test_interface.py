"""The interface of Hugging Face's tools on IR text: masks in place of lengths, padding on either side, refusals."""

from __future__ import annotations

import pytest
import torch

from graphwright.ir import Interpreter, PassError, Program, UnsupportedError, parse_program
from graphwright.passes import parse_passes, run_passes
from graphwright.passes.lowering.ort.hugging_face_interface import HuggingFaceInterface
from tests.passes.graphs import random_weight

CACHE = "state<contiguous f32[B, 1, C, 4]>"
DECODER = f"""program "test"
{random_weight("table", 16, 4)}
graph prefill(%input_ids: i64[B, S], %past_length: i64[B], %new_length: i64[B], %logit_positions: i64[B, N],
              %past.0.key: {CACHE}, %past.0.value: {CACHE}) {{
  %x = embedding(@table, %input_ids) : f32[B, S, 4]
  %h = split_heads(%x) {{heads=1}} : f32[B, 1, S, 4]
  %i = iota() {{size=S, dtype=i64}} : i64[S]
  %first = reshape(%past_length) {{shape=[B, 1]}} : i64[B, 1]
  %positions = add(%first, %i) : i64[B, S]
  %length = add(%past_length, %new_length) : i64[B]
  %k = kv_append(%past.0.key, %h, %past_length) : {CACHE}
  %v = kv_append(%past.0.value, %h, %past_length) : {CACHE}
  %kr = kv_read(%k) : f32[B, 1, C, 4]
  %vr = kv_read(%v) : f32[B, 1, C, 4]
  %a = attention(%h, %kr, %vr, %positions, key_length=%length) {{scale=0.5, mask="causal"}} : f32[B, 1, S, 4]
  %m = merge_heads(%a) : f32[B, S, 4]
  %t = take_tokens(%m, %logit_positions) : f32[B, N, 4]
  %logits = linear(%t, @table) : f32[B, N, 16]
  return logits=%logits, present.0.key=%k, present.0.value=%v
}}
"""
ROWS = [[3, 1, 4, 1, 5], [9, 2, 6]]


def expected(row: list[int]) -> torch.Tensor:
    """The logits [tokens, 16] of one row by itself, by the graph before the pass."""
    count, cache = len(row), torch.zeros(1, 1, len(row), 4)
    given = {
        "input_ids": torch.tensor([row]),
        "past_length": torch.tensor([0]),
        "new_length": torch.tensor([count]),
        "logit_positions": torch.arange(count)[None],
        "past.0.key": cache,
        "past.0.value": cache,
    }
    return Interpreter().run(parse_program(DECODER).graphs["prefill"], given)["logits"][0]


def with_interface(whole: bool) -> Program:
    source = parse_program(DECODER)
    report = run_passes(source, [HuggingFaceInterface(whole=whole)])
    assert report.hits == {"interface": 1}
    return source


def padded(left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Both rows in one batch, and the mask of their real tokens."""
    longest = max(map(len, ROWS))
    fill = [[0] * (longest - len(row)) for row in ROWS]
    real = [[1] * len(row) for row in ROWS]
    sides = [(f + r, f + m) if left else (r + f, m + f) for f, r, m in zip(fill, ROWS, real, strict=True)]
    return torch.tensor([ids for ids, _ in sides]), torch.tensor([mask for _, mask in sides])


@pytest.mark.parametrize("left", [True, False], ids=["left", "right"])
def test_growing_caches_and_every_logit(left: bool) -> None:
    graph = with_interface(whole=True).graphs["decoder"]
    assert [str(v.name) for v in graph.inputs] == [
        "input_ids",
        "attention_mask",
        "position_ids",
        "past_key_values.0.key",
        "past_key_values.0.value",
    ]
    assert {name: str(v.type) for name, v in graph.outputs.items()} == {
        "logits": "f32[B, S, 16]",
        "present.0.key": "state<contiguous f32[B, 1, P+S, 4]>",
        "present.0.value": "state<contiguous f32[B, 1, P+S, 4]>",
    }
    ids, mask = padded(left)
    empty = torch.zeros(2, 1, 0, 4)
    given = {"input_ids": ids, "attention_mask": mask, "position_ids": torch.zeros_like(ids)}
    given |= {"past_key_values.0.key": empty, "past_key_values.0.value": empty}
    logits = Interpreter().run(graph, given)["logits"]
    for row, real, found in zip(ROWS, mask.bool(), logits, strict=True):
        # The same sums in the same order, of a row beside another.
        torch.testing.assert_close(found[real], expected(row), rtol=1e-6, atol=1e-6)


def test_caches_of_fixed_capacity_and_the_last_logit_step_by_step() -> None:
    graph = with_interface(whole=False).graphs["decoder"]
    assert {str(v.name): str(v.type) for v in graph.inputs} == {
        "input_ids": "i64[B, S]",
        "attention_mask": "i64[B, T]",
        "past_key_values.0.key": CACHE,
        "past_key_values.0.value": CACHE,
    }
    assert str(graph.outputs["logits"].type) == "f32[B, 1, 16]"
    row, want = ROWS[0], expected(ROWS[0])
    caches = [torch.zeros(1, 1, 8, 4)] * 2
    past = 0
    for new in (2, 1, 2):
        given = {
            "input_ids": torch.tensor([row[past : past + new]]),
            "attention_mask": torch.ones(1, past + new, dtype=torch.int64),
            "past_key_values.0.key": caches[0],
            "past_key_values.0.value": caches[1],
        }
        out = Interpreter().run(graph, given)
        past += new
        torch.testing.assert_close(out["logits"][0, 0], want[past - 1], rtol=1e-6, atol=1e-6)
        caches = [out["present.0.key"], out["present.0.value"]]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "%past.0.value: " + CACHE,
            "%past.0.value: " + CACHE + ", %past.1.state: state<recurrent f32[B, 4]>",
            "'past.1.state' is state<recurrent f32[B, 4]>: these tools' models keep keys and values only",
        ),
        (
            "%past.0.value: " + CACHE,
            "%past.0.value: " + CACHE + ", %past.1.key: state<ring f32[B, 1, 3, 4]>",
            "'past.1.key' is state<ring f32[B, 1, 3, 4]>: these tools know no rings",
        ),
        (
            "%past.0.value: " + CACHE,
            "%past.0.value: " + CACHE + ", %past.1.key: state<contiguous i8[B, 1, C, 4]>",
            "'past.1.key' is state<contiguous i8[B, 1, C, 4]>: these tools' caches hold floats",
        ),
    ],
)
def test_states_that_these_tools_do_not_know_are_refused(old: str, new: str, problem: str) -> None:
    with pytest.raises(UnsupportedError) as refused:
        run_passes(parse_program(DECODER.replace(old, new, 1)), [HuggingFaceInterface()])
    assert str(refused.value).startswith(problem)


def test_a_function_has_no_such_interface() -> None:
    function = parse_program('program "test"\ngraph forward(%x: f32[B]) {\n  return x=%x\n}\n')
    with pytest.raises(PassError, match="has no graph 'prefill'"):
        run_passes(function, parse_passes("hugging-face-interface"))
