"""What a rule that almost fired says about it."""

from __future__ import annotations

import pytest

from graphwright.ir.rewriting import Rule
from tests.ir.rewriting import rules
from tests.ir.rewriting.test_rewrite import NORM, rewritten

AT = " at model.layers.3.norm"


def misses(before: str, *given: Rule) -> list[str]:
    _, outcome = rewritten(before, *given)
    assert not outcome.changed
    return [str(miss) for miss in outcome.near_misses]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (
            "%1 = mean(%0) {axes=[0], keepdims=true} : f32[1, 4]",
            "expected mean over the last axis, found axis 0 at model.layers.3.norm",
        ),
        (
            "%1 = mean(%0) {axes=[0, 1], keepdims=true} : f32[1, 1]",
            "expected mean over the last axis, found axes 0 and 1 at model.layers.3.norm",
        ),
        (
            "%1 = amax(%0) {axes=[1], keepdims=true} : f32[S, 1]",
            "expected mean, found amax at model.layers.3.norm",
        ),
        (
            "%1 = sum(%x) {axes=[1], keepdims=true} : f32[S, 1]",
            "expected mean, found sum at model.layers.3.norm",
        ),
    ],
)
def test_the_first_mismatch_is_named_in_words(wrong: str, reason: str) -> None:
    before = (NORM + "%out = mul(%5, %w) : f32[S, 4] at model.norm").replace("at model.norm", AT)
    before = before.replace("%1 = mean(%0) {axes=[1], keepdims=true} : f32[S, 1]", wrong)
    for shape in ("f32[1, 4]", "f32[1, 1]"):
        if shape in wrong:
            before = before.replace("f32[S, 1]", shape)
    assert f"rms-norm{AT}: {reason}" in misses(before, rules.rms_norm)


def test_another_value_than_before() -> None:
    before = NORM.replace("%0 = mul(%x, %x)", "%0 = mul(%x, %y)") + "%out = mul(%5, %w) : f32[S, 4] at model.norm"
    found = misses(before, rules.rms_norm)
    assert "rms-norm at model.norm: expected input x again, found input y" in found


def test_another_number() -> None:
    (found,) = misses(
        """%0 = layer_norm(%x, weight=%w) {epsilon=0.1} : f32[S, 4] at model.norm
        %1 = constant() {value=3.0, dtype=f32} : f32[] at model.three
        %out = mul(%0, %1) : f32[S, 4] at model.product""",
        rules.doubled_norm,
    )
    assert found == "doubled-norm at model.product: expected the constant 2.0, found the constant 3.0 at model.three"


def test_an_operand_that_should_be_absent() -> None:
    (found,) = misses(
        "%0 = linear(%x, %m, bias=%w) : f32[S, 4] at model.up %out = add(%0, %w) : f32[S, 4] at model.sum",
        rules.linear_bias,
    )
    assert found == "linear-bias at model.sum: expected linear without bias, found one with bias at model.up"


def test_a_refusal_is_the_reason() -> None:
    found = misses("%0 = linear(%x, %m) : f32[S, 4] %out = add(%0, %y) : f32[S, 4] at model.sum", rules.linear_bias)
    assert found == ["linear-bias at model.sum: bias has more than one axis"]


def test_what_fails_at_once_is_no_near_miss() -> None:
    assert misses("%out = mul(%x, %y) : f32[S, 4]", rules.rms_norm, rules.silu) == []


def test_a_rule_that_fires_later_leaves_no_near_miss() -> None:
    _, outcome = rewritten(
        "%0 = sigmoid(%x) : f32[S, 4] %1 = mul(%0, %x) : f32[S, 4] %out = mul(%y, %1) : f32[S, 4]",
        rules.glu,
        rules.silu,
    )
    assert outcome.changed
    assert outcome.near_misses == []


def test_an_attempt_that_fails_early_in_a_large_pattern_is_not_near() -> None:
    # Of the six ops of a norm the outer two are here.
    assert misses("%0 = mul(%x, %y) : f32[S, 4] %out = mul(%0, %w) : f32[S, 4]", rules.rms_norm) == []


def test_what_a_match_took_and_what_is_left_of_its_kind() -> None:
    _, outcome = rewritten(
        "%0 = neg(%x) : f32[S, 4] at a %1 = neg(%0) : f32[S, 4] at b %2 = exp(%1) : f32[S, 4] "
        "%out = neg(%2) : f32[S, 4] at c",
        rules.double_negation,
        rules.silu,
    )
    assert outcome.places == {"double-negation": {"b": 1}}
    assert {op.location for op in outcome.replaced} == {"b"}
    assert {op.location for op in outcome.taken} == {"a", "b"}
    assert outcome.candidates == {"double-negation": 1, "silu": 0}
    assert rules.silu.roots == ("mul",)


def test_outcomes_add_up() -> None:
    _, outcome = rewritten("%0 = neg(%x) : f32[S, 4] %out = neg(%0) : f32[S, 4]", rules.double_negation)
    _, other = rewritten("%0 = linear(%x, %m) : f32[S, 4] %out = add(%0, %y) : f32[S, 4]", rules.linear_bias)
    outcome.merge(other)
    outcome.merge(outcome)
    assert outcome.hits == {"double-negation": 2}
    assert len(outcome.near_misses) == 2
