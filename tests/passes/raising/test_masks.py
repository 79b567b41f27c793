from __future__ import annotations

import pytest

from graphwright.passes.raising.masks import RaiseMasks
from tests.passes.graphs import applied, program, random_weight

HEAD = """(%q: f32[B, 2, S, 4], %k: f32[B, 2, S, 4], %v: f32[B, 2, S, 4], %data: bool[B, 1, S, S]) {
  %i = iota() {size=S, dtype=i64} : i64[S]
  %pos = reshape(%i) {shape=[1, S]} : i64[1, S]
  %row = reshape(%i) {shape=[S, 1]} : i64[S, 1]
  %w = constant() {value=5, dtype=i64} : i64[]
  %causal = le(%i, %row) : bool[S, S]
"""
TAIL = """
  %y = attention(%q, %k, %v, %pos, bias=%mask) {scale=0.5, mask="full"} : f32[B, 2, S, 4]
  return y=%y
}"""

MASKS = {
    'mask="causal"}': "%mask = ge(%row, %i) : bool[S, S]",
    'mask="sliding", window=5}': """%from = sub(%row, %w) : i64[S, 1]
  %recent = gt(%i, %from) : bool[S, S]
  %both = logical_and(%recent, %causal) : bool[S, S]
  %mask = reshape(%both) {shape=[1, 1, S, S]} : bool[1, 1, S, S]""",
    'mask="chunked", window=5}': """%a = div(%row, %w) : i64[S, 1]
  %b = div(%i, %w) : i64[S]
  %chunk = eq(%a, %b) : bool[S, S]
  %mask = logical_and(%chunk, %causal) : bool[S, S]""",
    'mask="prefix", window=5}': "%early = lt(%i, %w) : bool[S]\n  %mask = logical_or(%early, %causal) : bool[S, S]",
    'mask="full"}': "%mask = eq(%i, %i) : bool[S]\n".replace("bool[S]", "bool[S]"),
}
MASKS['mask="full"}'] = "%zero = sub(%row, %row) : i64[S, 1]\n  %mask = le(%zero, %i) : bool[S, S]"


@pytest.mark.parametrize("expected", MASKS)
def test_masks_are_known_by_what_they_hide(expected: str) -> None:
    after, _ = applied(program(HEAD + "  " + MASKS[expected] + TAIL), RaiseMasks())
    assert expected in after
    assert "bias=" not in after


def test_an_additive_mask() -> None:
    mask = """  %zero = constant() {value=0.0, dtype=f32} : f32[]
  %low = constant() {value=-3.4028234663852886e+38, dtype=f32} : f32[]
  %mask = where(%causal, %zero, %low) : f32[S, S]"""
    after, _ = applied(program(HEAD + mask + TAIL), RaiseMasks())
    assert 'mask="causal"}' in after


def test_a_mask_that_also_adds_becomes_mask_and_bias() -> None:
    """A linear bias (ALiBi) inside a causal mask hides the same keys but changes the other scores."""
    mask = """  %d = sub(%i, %row) : i64[S, S]
  %slope = cast(%d) {dtype=f32} : f32[S, S]
  %low = constant() {value=-inf, dtype=f32} : f32[]
  %mask = where(%causal, %slope, %low) : f32[S, S]"""
    after, _ = applied(program(HEAD + mask + TAIL), RaiseMasks())
    assert "where" not in after
    assert 'bias=%4) {scale=0.5, mask="causal"}' in after


def test_a_mask_from_data_stays() -> None:
    after, misses = applied(
        program(HEAD + "  %mask = logical_and(%data, %causal) : bool[B, 1, S, S]" + TAIL), RaiseMasks()
    )
    assert "bias=" in after
    assert any("depends on data" in m.reason for m in misses)


def test_a_mask_that_differs_between_heads_stays() -> None:
    mask = "  %mask = logical_and(@heads, %causal) : bool[2, S, S]"
    weights = "weight @heads : bool[2, 1, 1] = data([true, false]) : bool[2, 1, 1]\n" + random_weight("unused", 1)
    after, misses = applied(program(HEAD + mask + TAIL, weights), RaiseMasks())
    assert "bias=" in after
    assert any("differs between rows or heads" in m.reason for m in misses)


def test_a_small_weight_in_the_mask_does_not_shorten_the_probe() -> None:
    """A weight of three elements bounds no sequence: the window of 5 must still be seen."""
    window = MASKS['mask="sliding", window=5}'].replace("%mask = reshape(%both)", "%wide = reshape(%both)")
    mask = (
        window
        + """
  %small = any(@small) {axes=[0]} : bool[]
  %mask = logical_and(%wide, %small) : bool[1, 1, S, S]"""
    )
    weights = "weight @small : bool[3] = data([true, true, true]) : bool[3]\n"
    after, _ = applied(program(HEAD + "  " + mask + TAIL, weights), RaiseMasks())
    assert 'mask="sliding", window=5}' in after


def test_a_window_longer_than_the_probe_is_left_alone() -> None:
    mask = MASKS['mask="sliding", window=5}'].replace("bool", "bool")
    text = (HEAD + "  " + mask + TAIL).replace("value=5,", "value=100000,")
    before = program(text)
    after, misses = applied(before, RaiseMasks())
    assert "bias=" in after
    assert any("needs 100013 tokens" in m.reason for m in misses), misses
    before.metadata["context_length"] = 512
    assert 'mask="causal"}' in applied(before, RaiseMasks())[0]


def test_a_bias_that_hides_nothing_stays() -> None:
    mask = """  %d = sub(%i, %row) : i64[S, S]
  %mask = cast(%d) {dtype=f32} : f32[S, S]"""
    after, _ = applied(program(HEAD + mask + TAIL), RaiseMasks())
    assert 'bias=%4) {scale=0.5, mask="full"}' in after
