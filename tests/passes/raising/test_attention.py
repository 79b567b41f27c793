from __future__ import annotations

import pytest

from graphwright.ir import print_graph
from graphwright.passes import run_passes
from graphwright.passes.raising.activations import FuseActivations
from graphwright.passes.raising.attention import RaiseAttention, UngroupQueries
from graphwright.passes.raising.masks import RaiseMasks
from graphwright.passes.simplifying.canonicalize import Canonicalize
from tests.passes.graphs import applied, program

INPUTS = "%q: f32[B, 2, S, 4], %k: f32[B, 2, S, 4], %v: f32[B, 2, S, 4]"
SCORES = """  %kt = transpose(%k) {permutation=[0, 1, 3, 2]} : f32[B, 2, 4, S]
  %scores = matmul(%q, %kt) : f32[B, 2, S, S]
  %c = constant() {value=0.5, dtype=f32} : f32[]
"""
END = """  %p = softmax(%masked) {axis=3} : f32[B, 2, S, S]
  %y = matmul(%p, %v) : f32[B, 2, S, 4]
  return y=%y
"""
CAUSAL = """  %i = iota() {size=S, dtype=i64} : i64[S]
  %row = reshape(%i) {shape=[S, 1]} : i64[S, 1]
  %keep = le(%i, %row) : bool[S, S]
  %low = constant() {value=LOW, dtype=f32} : f32[]
"""

MASKED = {
    "scaled, no mask": "  %masked = mul(%scores, %c) : f32[B, 2, S, S]\n",
    "divided": "  %masked = div(%scores, %c) : f32[B, 2, S, S]\n",
    "where": CAUSAL
    + "  %s = mul(%scores, %c) : f32[B, 2, S, S]\n  %masked = where(%keep, %s, %low) : f32[B, 2, S, S]\n",
    "where not": CAUSAL
    + "  %drop = logical_not(%keep) : bool[S, S]\n  %masked = where(%drop, %low, %scores) : f32[B, 2, S, S]\n",
    "additive": CAUSAL
    + """  %zero = constant() {value=0.0, dtype=f32} : f32[]
  %add = where(%keep, %zero, %low) : f32[S, S]
  %s = mul(%c, %scores) : f32[B, 2, S, S]
  %masked = add(%add, %s) : f32[B, 2, S, S]
""",
    "masked twice, with a bias": CAUSAL
    + """  %s = mul(%scores, %c) : f32[B, 2, S, S]
  %d = sub(%i, %row) : i64[S, S]
  %slope = cast(%d) {dtype=f32} : f32[S, S]
  %near = gt(%slope, %low) : bool[S, S]
  %m1 = where(%keep, %s, %low) : f32[B, 2, S, S]
  %m2 = add(%m1, %slope) : f32[B, 2, S, S]
  %masked = where(%near, %m2, %low) : f32[B, 2, S, S]
""",
    "scaled after a bias": CAUSAL
    + """  %d = sub(%i, %row) : i64[S, S]
  %slope = cast(%d) {dtype=f32} : f32[S, S]
  %s = add(%slope, %scores) : f32[B, 2, S, S]
  %masked = mul(%s, %c) : f32[B, 2, S, S]
""",
    "scaled after the mask": CAUSAL
    + "  %s = where(%keep, %scores, %low) : f32[B, 2, S, S]\n  %masked = mul(%s, %c) : f32[B, 2, S, S]\n",
    "capped": """  %s = mul(%scores, %c) : f32[B, 2, S, S]
  %cap = constant() {value=30.0, dtype=f32} : f32[]
  %d = div(%s, %cap) : f32[B, 2, S, S]
  %t = tanh(%d) : f32[B, 2, S, S]
  %masked = mul(%t, %cap) : f32[B, 2, S, S]
""",
}


@pytest.mark.parametrize("spelling", MASKED)
@pytest.mark.parametrize("low", ["-inf", "-1000000000.0"])
def test_spellings(spelling: str, low: str) -> None:
    text = f"({INPUTS}) {{\n{SCORES}{MASKED[spelling]}{END}}}".replace("LOW", low)
    after, _ = applied(program(text), FuseActivations(), RaiseAttention(), Canonicalize())
    assert "attention(%q, %k, %v," in after
    assert "softmax" not in after
    if spelling == "capped":
        assert "softcap=30.0" in after


def test_a_score_that_weighs_after_its_scale_is_not_masked() -> None:
    masked = MASKED["scaled after the mask"]
    text = f"({INPUTS}) {{\n{SCORES}{masked}{END}}}".replace("LOW", "-10000.0").replace("value=0.5", "value=0.01")
    after, misses = applied(program(text), RaiseAttention())
    assert "attention(" not in after
    assert any("masked scores become -100.0 when they are scaled" in m.reason for m in misses)


def test_a_score_that_still_weighs_is_not_masked() -> None:
    text = f"({INPUTS}) {{\n{SCORES}{MASKED['where']}{END}}}".replace("LOW", "-3.0")
    after, misses = applied(program(text), RaiseAttention())
    assert "attention(" not in after
    assert any("does not hide" in m.reason for m in misses)


def test_a_softmax_over_queries_is_no_attention() -> None:
    text = f"({INPUTS}) {{\n{SCORES}{MASKED['divided']}{END}}}".replace("axis=3", "axis=2")
    after, misses = applied(program(text), RaiseAttention())
    assert "attention(" not in after
    assert any("last axis" in m.reason for m in misses), misses


GROUPED = """(%q: f32[B, 4, S, 4], %k: f32[B, 2, S, 4], %v: f32[B, 2, S, 4]) {{
  %i = iota() {{size=S, dtype=i64}} : i64[S]
  %pos = reshape(%i) {{shape=[1, S]}} : i64[1, S]
  %k1 = reshape(%k) {{shape={split}}} : f32{split}
  %k2 = expand(%k1) {{shape={repeat}}} : f32{repeat}
  %k3 = reshape(%k2) {{shape=[B, 4, S, 4]}} : f32[B, 4, S, 4]
  %v1 = reshape(%v) {{shape={split}}} : f32{split}
  %v2 = expand(%v1) {{shape={repeat}}} : f32{repeat}
  %v3 = reshape(%v2) {{shape=[B, 4, S, 4]}} : f32[B, 4, S, 4]
  %y = attention(%q, %k3, %v3, %pos) {{scale=0.5, mask="causal"}} : f32[B, 4, S, 4]
  return y=%y
}}"""


def test_repeated_keys_are_given_once() -> None:
    text = GROUPED.format(split="[B, 2, 1, S, 4]", repeat="[B, 2, 2, S, 4]")
    after, _ = applied(program(text), UngroupQueries())
    assert "attention(%q, %k, %v," in after
    assert "expand" not in after


def test_tiled_keys_stay() -> None:
    """Heads 0, 1, 0, 1 instead of 0, 0, 1, 1: another model."""
    text = GROUPED.format(split="[B, 1, 2, S, 4]", repeat="[B, 2, 2, S, 4]")
    after, misses = applied(program(text), UngroupQueries())
    assert "attention(%q, %k, %v," not in after
    assert any("not repeated head by head" in m.reason for m in misses)


def test_a_constant_factor_on_queries_joins_the_scale() -> None:
    text = f"""({INPUTS}) {{
  %i = iota() {{size=S, dtype=i64}} : i64[S]
  %pos = reshape(%i) {{shape=[1, S]}} : i64[1, S]
  %c = constant() {{value=0.5, dtype=f32}} : f32[]
  %q2 = mul(%q, %c) : f32[B, 2, S, 4]
  %y = attention(%q2, %k, %v, %pos) {{scale=0.5, mask="causal"}} : f32[B, 2, S, 4]
  return y=%y
}}"""
    after, _ = applied(program(text), RaiseAttention(), Canonicalize())
    assert 'attention(%q, %k, %v, %1) {scale=0.25, mask="causal"}' in after


SINKS = """({inputs}) {{
{scores}  %column = expand(@sinks) {{shape=[B, 2, S, 1]}} : f32[B, 2, S, 1]
  %joined = concat({joined}) {{axis=3}} : f32[B, 2, S, S+1]
  %largest = amax(%joined) {{axes=[3], keepdims=true}} : f32[B, 2, S, 1]
  %shifted = sub(%joined, %largest) : f32[B, 2, S, S+1]
  %p = softmax(%shifted) {{axis=3}} : f32[B, 2, S, S+1]
  %w = slice(%p) {{axis=3, start={start}, stop={stop}}} : f32[B, 2, S, S]
  %y = matmul(%w, %v) : f32[B, 2, S, 4]
  return y=%y
}}"""
SINK_WEIGHTS = "weight @sinks : f32[1, 2, 1, 1] = data([0.5, -0.25]) : f32[1, 2, 1, 1]\n"


def test_sinks() -> None:
    text = SINKS.format(inputs=INPUTS, scores=SCORES, joined="%scores, %column", start=0, stop="S")
    after, _ = applied(program(text, SINK_WEIGHTS), RaiseAttention(), Canonicalize())
    assert "attention(%q, %k, %v, %1, sinks=@sinks" in after
    assert "softmax" not in after


def test_a_sink_whose_weight_is_used_stays() -> None:
    text = SINKS.format(inputs=INPUTS, scores=SCORES, joined="%column, %scores", start=0, stop="S")
    assert "attention(" not in applied(program(text, SINK_WEIGHTS), RaiseAttention())[0]
    text = SINKS.format(inputs=INPUTS, scores=SCORES, joined="%scores, %column", start=1, stop="S+1")
    assert "attention(" not in applied(program(text, SINK_WEIGHTS), RaiseAttention())[0]


def test_one_head_for_all_queries_is_given_once() -> None:
    text = """(%q: f32[B, 4, S, 4], %k: f32[B, 1, S, 4], %v: f32[B, 1, S, 4]) {
  %i = iota() {size=S, dtype=i64} : i64[S]
  %pos = reshape(%i) {shape=[1, S]} : i64[1, S]
  %k1 = expand(%k) {shape=[B, 4, S, 4]} : f32[B, 4, S, 4]
  %v1 = expand(%v) {shape=[B, 4, S, 4]} : f32[B, 4, S, 4]
  %y = attention(%q, %k1, %v1, %pos) {scale=0.5, mask="causal"} : f32[B, 4, S, 4]
  return y=%y
}"""
    after, _ = applied(program(text), UngroupQueries())
    assert "attention(%q, %k, %v," in after
    assert "expand" not in after


FROM_DATA = f"""({INPUTS}, %keep: bool[B, 1, S, S]) {{
{SCORES}  %low = constant() {{value=LOW, dtype=f32}} : f32[]
  %masked = where(%keep, %scores, %low) : f32[B, 2, S, S]
{END}}}"""


@pytest.mark.parametrize("low", ["-10000.0", "-1000000000.0", "-3.4028234663852886e+38"])
def test_queries_whose_keys_are_all_hidden_by_a_number_see_them_all(low: str) -> None:
    """Random masks hide the one key of a single token from half of the queries."""
    after, _ = applied(program(FROM_DATA.replace("LOW", low)), RaiseAttention(), Canonicalize())
    assert "softmax" not in after
    assert "amax(" in after
    assert "where(" in after


def test_masks_of_minus_infinity_need_no_care() -> None:
    # a query that sees nothing has no value in eager: 0 / 0
    after = program(FROM_DATA.replace("LOW", "-inf"))
    run_passes(after, (RaiseAttention(), Canonicalize()))
    text = print_graph(after.graphs["forward"])
    assert "attention(%q, %k, %v, %" in text
    assert "amax(" not in text


def test_a_mask_of_positions_that_leaves_a_key_to_each_query_needs_no_care() -> None:
    text = f"({INPUTS}) {{\n{SCORES}{MASKED['where']}{END}}}".replace("LOW", "-1000000000.0")
    after, _ = applied(program(text), RaiseAttention(), Canonicalize())
    assert "amax(" not in after


def test_a_mask_of_positions_that_hides_all_keys_from_the_first_query() -> None:
    text = f"({INPUTS}) {{\n{SCORES}{MASKED['where']}{END}}}".replace("LOW", "-1000000000.0").replace("le(", "lt(")
    after, _ = applied(program(text), RaiseAttention(), RaiseMasks(), Canonicalize())
    assert "amax(" in after
    assert 'mask="full"' in after


def test_numbers_of_two_sizes_hide_in_order() -> None:
    """A query without a key sees those that the larger number hides, as many as there are."""
    text = f"""({INPUTS}, %near: bool[B, 1, S, S], %known: bool[B, 1, S, S]) {{
{SCORES}  %low = constant() {{value=-20000.0, dtype=f32}} : f32[]
  %lower = constant() {{value=-1000000000.0, dtype=f32}} : f32[]
  %near_ones = where(%near, %scores, %low) : f32[B, 2, S, S]
  %masked = where(%known, %near_ones, %lower) : f32[B, 2, S, S]
{END}}}"""
    after, _ = applied(program(text), RaiseAttention(), Canonicalize())
    assert "softmax" not in after


def test_positions_and_data_hide_all_keys_together() -> None:
    """Left padding under a causal mask: each leaves a key to every query, both do not."""
    causal = CAUSAL.replace("LOW", "-1000000000.0")
    text = f"""({INPUTS}, %known: bool[B, 1, 1, S]) {{
{SCORES}{causal}  %past = where(%keep, %scores, %low) : f32[B, 2, S, S]
  %masked = where(%known, %past, %low) : f32[B, 2, S, S]
{END}}}"""
    after, _ = applied(program(text), RaiseAttention(), Canonicalize())
    assert "softmax" not in after
