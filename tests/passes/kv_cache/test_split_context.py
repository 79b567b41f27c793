from __future__ import annotations

import pytest

from graphwright.ir import PassError, print_graph
from graphwright.passes import run_passes
from graphwright.passes.kv_cache.insert_kv_cache import InsertKVCache
from graphwright.passes.kv_cache.split_context import SplitContext
from tests.passes.graphs import program, random_weight

WEIGHTS = random_weight("table", 9, 4) + random_weight("k", 4, 4)
MODEL = """(%input_ids: i64[B, S], %decoder_input_ids: i64[B, {length}]) {{
  %0 = embedding(@table, %input_ids) : f32[B, S, 4]
  {mixed}
  %2 = linear(%1, @k) : f32[B, S, 4]  at cross.k
  %3 = split_heads(%2) {{heads=2}} : f32[B, 2, S, 2]  at cross
  %4 = embedding(@table, %decoder_input_ids) : f32[B, {length}, 4]
  %5 = split_heads(%4) {{heads=2}} : f32[B, 2, {length}, 2]
  %6 = iota() {{size={length}, dtype=i64}} : i64[{length}]
  %7 = reshape(%6) {{shape=[1, {length}]}} : i64[1, {length}]
  %8 = attention(%5, %3, %3, %7) {{scale=0.5, mask="full"}} : f32[B, 2, {length}, 2]  at cross
  %9 = merge_heads(%8) : f32[B, {length}, 4]
  %10 = linear(%9, @table) : f32[B, {length}, 9]
  return logits=%10
}}"""


def test_what_depends_on_the_context_alone_is_apart() -> None:
    before = program(MODEL.format(length="T", mixed="%1 = neg(%0) : f32[B, S, 4]"), WEIGHTS)
    run_passes(before, [SplitContext()])
    assert print_graph(before.graphs["encode"]).splitlines()[-2:] == ["  return context.0=%3", "}"]
    forward = print_graph(before.graphs["forward"])
    assert forward.startswith("graph forward(%input_ids: i64[B, S], %context.0: f32[B, 2, T, 2]) {")
    assert "cross.k" not in forward
    run_passes(before, [InsertKVCache()])
    assert "key_length=%context_length" in print_graph(before.graphs["prefill"])


def test_a_graph_with_one_input_stays() -> None:
    before = program("(%input_ids: i64[B, S]) {\n  return y=%input_ids\n}")
    text = print_graph(before.graphs["forward"])
    assert not run_passes(before, [SplitContext()]).records[0].hits
    assert print_graph(before.graphs["forward"]) == text


def test_one_length_for_both_is_refused() -> None:
    with pytest.raises(PassError, match="must have lengths of their own"):
        run_passes(program(MODEL.format(length="S", mixed="%1 = neg(%0) : f32[B, S, 4]"), WEIGHTS), [SplitContext()])


def test_a_context_that_mixes_its_tokens_outside_attention_is_refused() -> None:
    before = program(MODEL.format(length="T", mixed="%1 = softmax(%0) {axis=1} : f32[B, S, 4]  at pool"), WEIGHTS)
    run_passes(before, [SplitContext()])
    with pytest.raises(PassError, match="softmax at pool: it mixes tokens along axis 1"):
        run_passes(before, [InsertKVCache()])
