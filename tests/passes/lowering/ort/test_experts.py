"""Experts on IR text: one operator over a row for each pair of token and expert, or as they were, and why."""

from __future__ import annotations

from graphwright.passes import parse_passes
from tests.passes.graphs import applied, body, program, random_weight

WEIGHTS = random_weight("gate_up", 3, 8, 6) + random_weight("down", 3, 6, 4)
MIXED = """(%x: f32[B, S, 6], %w: f32[B, S, 2]) {
  %v, %i = topk(%w) {k=2, axis=-1} : f32[B, S, 2], i64[B, S, 2]
  %y = moe_experts(%x, %i, %v, @gate_up, @down) {kind="silu", gated=true} : f32[B, S, 6]  at layer
  return y=%y
}"""
PASS = parse_passes("ort-experts")


def test_stored_experts_become_the_operator() -> None:
    text, misses = applied(program(MIXED, WEIGHTS), *PASS)
    assert "ort.chosen_experts" in body(text)
    assert "moe_experts" not in body(text)
    assert "@gate_up.alternating" in text
    assert not misses
    text, misses = applied(program(MIXED, WEIGHTS), *parse_passes("ort-experts{dialect=portable}"))
    assert "moe_experts" in body(text)
    assert not misses


def test_experts_that_the_operator_has_not_stay_and_say_why() -> None:
    gelu = MIXED.replace('"silu"', '"gelu_tanh"')
    text, misses = applied(program(gelu, WEIGHTS), *PASS)
    assert "moe_experts" in body(text)
    assert [str(m) for m in misses] == ["chosen-experts at layer: ort: a gate of gelu_tanh"]
    computed = MIXED.replace("%w: f32[B, S, 2])", "%w: f32[B, S, 2], %d: f32[3, 6, 4])").replace("@down", "%d")
    text, misses = applied(program(computed, WEIGHTS), *PASS)
    assert "moe_experts" in body(text)
    assert [str(m) for m in misses] == ["chosen-experts at layer: its weights are computed in the graph"]
