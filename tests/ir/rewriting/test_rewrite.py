"""Rewriting, stated as text before and after."""

from __future__ import annotations

from textwrap import dedent

import pytest

from graphwright.ir import Builder, Value, ops, parse_program, print_graph, verify
from graphwright.ir.rewriting import LAST, Match, Outcome, Pattern, Refusal, Rule, either, rewrite, rule
from tests.ir.rewriting import rules

INPUTS = "%x: f32[S, 4], %y: f32[S, 4], %w: f32[4], %m: f32[4, 4]"


def exp(x: Pattern) -> Pattern:
    return ops.exp(x)


def cos(x: Pattern) -> Pattern:
    return ops.cos(x)


def rewritten(before: str, *given: Rule, inputs: str = INPUTS, outputs: str = "out=%out") -> tuple[list[str], Outcome]:
    """The ops after rewriting, one a line, and what happened."""
    program = parse_program(f'program "p" graph g({inputs}) {{ {before} return {outputs} }}')
    graph = program.graphs["g"]
    outcome = rewrite(program, graph, given)
    verify(program)
    return [line.strip() for line in print_graph(graph).splitlines()[1:-1]], outcome


def lines(text: str) -> list[str]:
    return [line.strip() for line in dedent(text).strip().splitlines()]


NORM = """
    %0 = mul(%x, %x) : f32[S, 4]                                     at model.norm
    %1 = mean(%0) {axes=[1], keepdims=true} : f32[S, 1]              at model.norm
    %2 = constant() {value=1e-05, dtype=f32} : f32[]                 at model.norm
    %3 = add(%1, %2) : f32[S, 1]                                     at model.norm
    %4 = rsqrt(%3) : f32[S, 1]                                       at model.norm
    %5 = mul(%x, %4) : f32[S, 4]                                     at model.norm
"""


@pytest.mark.parametrize("root", ["mul(%5, %w)", "mul(%w, %5)"])
@pytest.mark.parametrize("inner", ["mul(%x, %4)", "mul(%4, %x)"])
@pytest.mark.parametrize("sum", ["add(%1, %2)", "add(%2, %1)"])
def test_a_norm_is_found_in_every_order_and_keeps_its_place(root: str, inner: str, sum: str) -> None:
    before = NORM.replace("mul(%x, %4)", inner).replace("add(%1, %2)", sum) + f"%out = {root} : f32[S, 4] at model.norm"
    after, outcome = rewritten(before, rules.rms_norm)
    assert after == ["%0 = rms_norm(%x, %w) {epsilon=1e-05} : f32[S, 4]  at model.norm", "return out=%0"]
    assert outcome.hits == {"rms-norm": 1}
    assert not outcome.near_misses


def test_what_others_use_stays() -> None:
    after, _ = rewritten(NORM + "%out = mul(%5, %w) : f32[S, 4]", rules.rms_norm, outputs="out=%out, scale=%4")
    assert after == lines("""
        %0 = mul(%x, %x) : f32[S, 4]  at model.norm
        %1 = mean(%0) {axes=[1], keepdims=true} : f32[S, 1]  at model.norm
        %2 = constant() {value=1e-05, dtype=f32} : f32[]  at model.norm
        %3 = add(%1, %2) : f32[S, 1]  at model.norm
        %4 = rsqrt(%3) : f32[S, 1]  at model.norm
        %5 = rms_norm(%x, %w) {epsilon=1e-05} : f32[S, 4]
        return out=%5, scale=%4
    """)


def test_users_are_tried_again() -> None:
    # The product is met as `silu` first; only then is it a gated unit. So is the negation of a negation of one.
    after, outcome = rewritten(
        """%0 = sigmoid(%x) : f32[S, 4] %1 = mul(%0, %x) : f32[S, 4] %2 = mul(%y, %1) : f32[S, 4]
        %3 = neg(%2) : f32[S, 4] %out = neg(%3) : f32[S, 4]""",
        rules.glu,
        rules.silu,
        rules.double_negation,
    )
    assert after == ['%0 = glu(%x, %y) {kind="silu"} : f32[S, 4]', "return out=%0"]
    assert outcome.hits == {"silu": 1, "glu": 1, "double-negation": 1}


def test_new_ops_inside_a_replacement_are_tried_too() -> None:
    @rule(exp)
    def twice_negated(match: Match, build: Builder) -> Value:
        return build(ops.sin, build(ops.neg, build(ops.neg, match["x"])))

    after, outcome = rewritten("%out = exp(%x) : f32[S, 4]", twice_negated, rules.double_negation)
    assert after == ["%0 = sin(%x) : f32[S, 4]", "return out=%0"]
    assert outcome.hits == {"twice-negated": 1, "double-negation": 1}


def test_a_match_that_comes_about_far_below_its_root_is_found() -> None:
    # `tower` is rooted three ops above the value that `silu` changes, and is met before.
    def pattern(x: Pattern) -> Pattern:
        return ops.cos(ops.tanh(ops.erf(ops.activation(x))))

    @rule(pattern)
    def tower(match: Match, build: Builder) -> Value:
        return build(ops.sin, match["x"])

    @rule(cos)
    def late(match: Match, build: Builder) -> Value | Refusal:
        # Fires at the root of the tower itself, once, by changing what lies below.
        below = match["x"].defined_by(ops.tanh)
        inner = below and below.inputs[0].defined_by(ops.erf)
        lowest = inner and inner.inputs[0].defined_by(ops.exp)
        if lowest is None:
            return Refusal("not here")
        activation = build(ops.activation, lowest.inputs[0], kind="silu")
        return build(ops.cos, build(ops.tanh, build(ops.erf, activation)))

    after, outcome = rewritten(
        "%0 = exp(%x) : f32[S, 4] %1 = erf(%0) : f32[S, 4] %2 = tanh(%1) : f32[S, 4] %out = cos(%2) : f32[S, 4]",
        tower,
        late,
    )
    assert after == ["%0 = sin(%x) : f32[S, 4]", "return out=%0"]
    assert outcome.hits == {"late": 1, "tower": 1}


def test_one_capture_is_one_value() -> None:
    after, outcome = rewritten(
        "%0 = sigmoid(%y) : f32[S, 4] %out = mul(%x, %0) : f32[S, 4]",
        rules.silu,
    )
    assert not outcome.changed
    assert len(after) == 3


def test_backtracking_reaches_through_both_sides_of_a_sum() -> None:
    # a * b + a * c holds only with the third of four pairings of the products' operands.
    for left, right in [("%x, %w", "%y, %x"), ("%w, %x", "%x, %y"), ("%w, %x", "%y, %x"), ("%x, %w", "%x, %y")]:
        after, outcome = rewritten(
            f"%0 = mul({left}) : f32[S, 4] %1 = mul({right}) : f32[S, 4] %out = add(%0, %1) : f32[S, 4]", rules.factor
        )
        assert outcome.hits == {"factor": 1}
        assert after[-2:] == ["%1 = mul(%x, %0) : f32[S, 4]", "return out=%1"]


def test_alternatives_backtrack_with_what_follows_them() -> None:
    # The first alternative fits by itself, but then x stands for another value than the product needs.
    def pattern(x: Pattern, y: Pattern) -> Pattern:
        return either(x * y, ops.exp(x * y)) + ops.sin(x)

    @rule(pattern)
    def either_way(match: Match, build: Builder) -> Value:
        return build(ops.cos, match["x"])

    after, _ = rewritten(
        """%0 = mul(%y, %x) : f32[S, 4] %1 = exp(%0) : f32[S, 4] %2 = sin(%x) : f32[S, 4]
        %out = add(%2, %1) : f32[S, 4]""",
        either_way,
    )
    assert after == ["%0 = cos(%x) : f32[S, 4]", "return out=%0"]


def test_an_alternative_that_occurs_twice_is_one_value() -> None:
    def pattern(x: Pattern) -> Pattern:
        half = either(x, ops.neg(x))
        return half * half

    @rule(pattern)
    def square(match: Match, build: Builder) -> Value:
        return build(ops.abs, match["x"])

    _, outcome = rewritten("%0 = neg(%x) : f32[S, 4] %out = mul(%x, %0) : f32[S, 4]", square)
    assert not outcome.changed
    _, outcome = rewritten("%0 = neg(%x) : f32[S, 4] %out = mul(%0, %0) : f32[S, 4]", square)
    assert outcome.changed


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "%0 = layer_norm(%x, weight=%w) {epsilon=0.1} : f32[S, 4]",
            "%2 = layer_norm(%x, weight=%1) {epsilon=0.1} : f32[S, 4]",
        ),
        (
            "%0 = layer_norm(%x, weight=%w, bias=%w) {epsilon=0.1} : f32[S, 4]",
            "%3 = layer_norm(%x, weight=%1, bias=%2) {epsilon=0.1} : f32[S, 4]",
        ),
    ],
)
def test_an_optional_operand_may_be_absent(before: str, after: str) -> None:
    found, outcome = rewritten(
        before + "%two = constant() {value=2.0, dtype=f32} : f32[] %out = mul(%0, %two) : f32[S, 4]",
        rules.doubled_norm,
    )
    assert outcome.hits == {"doubled-norm": 1}
    assert after in found


def test_an_operand_that_a_pattern_leaves_out_must_be_absent() -> None:
    _, outcome = rewritten("%0 = linear(%x, %m, bias=%w) : f32[S, 4] %out = add(%0, %w) : f32[S, 4]", rules.linear_bias)
    assert not outcome.changed
    _, outcome = rewritten("%0 = linear(%x, %m) : f32[S, 4] %out = add(%w, %0) : f32[S, 4]", rules.linear_bias)
    assert outcome.changed


def test_numbers_match_to_the_last_bit_of_float32() -> None:
    def pattern(x: Pattern) -> Pattern:
        return x * 0.1

    @rule(pattern)
    def tenth(match: Match, build: Builder) -> Value:
        return match["x"]

    for value, fits in [("0.1", True), ("0.10000000149011612", True), ("0.1000001", False), ("1e300", False)]:
        _, outcome = rewritten(
            f"%0 = constant() {{value={value}, dtype=f32}} : f32[] %out = mul(%x, %0) : f32[S, 4]", tenth
        )
        assert outcome.changed == fits, value


def test_a_pattern_rooted_at_an_op_with_several_results_does_not_match() -> None:
    def split(x: Pattern) -> Pattern:
        return ops.split(x)

    def exp_of_split(x: Pattern) -> Pattern:
        return ops.exp(ops.split(x))

    @rule(split)
    def of_split(match: Match, build: Builder) -> Value:
        return match["x"]

    @rule(exp_of_split)
    def above_split(match: Match, build: Builder) -> Value:
        return match["x"]

    _, outcome = rewritten(
        "%0, %1 = split(%x) {axis=1, sizes=[2, 2]} : f32[S, 2], f32[S, 2] %out = exp(%1) : f32[S, 2]",
        of_split,
        above_split,
    )
    assert not outcome.changed


def test_a_replacement_of_another_type_is_our_bug() -> None:
    @rule(exp)
    def wrong(match: Match, build: Builder) -> Value:
        return build(ops.gt, match["x"], match["x"])

    with pytest.raises(AssertionError, match=r"wrong at model\.here: f32\[S, 4\] would become bool\[S, 4\]"):
        rewritten("%out = exp(%x) : f32[S, 4] at model.here", wrong)


def test_rules_without_end_are_our_bug() -> None:
    def pattern(x: Pattern, y: Pattern) -> Pattern:
        return x + y

    @rule(pattern)
    def swap(match: Match, build: Builder) -> Value:
        return build(ops.add, match["y"], match["x"])

    with pytest.raises(AssertionError, match=r"the rules do not come to an end: .* at last swap"):
        rewritten("%out = add(%x, %y) : f32[S, 4]", swap)


def test_a_misspelt_pattern_is_found_when_it_is_traced() -> None:
    def softcap(x: Pattern) -> Pattern:
        return ops.softcap(x, top=3.0)

    def exp_of_two(x: Pattern, y: Pattern) -> Pattern:
        return ops.exp(x, y)

    def anything(x: Pattern) -> Pattern:
        return x

    def build(match: Match, build: Builder) -> Value:
        return match["x"]

    with pytest.raises(AssertionError, match="softcap has no attribute top"):
        rule(softcap)(build)
    with pytest.raises(AssertionError, match="too many operands for exp"):
        rule(exp_of_two)(build)
    with pytest.raises(AssertionError, match="a pattern's root must be an op"):
        rule(anything)(build)


def test_what_a_refusing_rule_built_is_gone() -> None:
    def pattern(x: Pattern) -> Pattern:
        return ops.exp(ops.neg(x))

    @rule(pattern)
    def hesitant(match: Match, build: Builder) -> Value | Refusal:
        build(ops.sin, build(ops.cos, match["x"]))
        return Refusal("thought better of it")

    after, outcome = rewritten("%0 = neg(%x) : f32[S, 4] %out = exp(%0) : f32[S, 4]", hesitant)
    assert after == ["%0 = neg(%x) : f32[S, 4]", "%1 = exp(%0) : f32[S, 4]", "return out=%1"]
    assert [str(miss) for miss in outcome.near_misses] == ["hesitant: thought better of it"]


def test_a_rule_that_saw_only_its_root_was_not_near() -> None:
    @rule(exp)
    def never(match: Match, build: Builder) -> Value | Refusal:
        return Refusal("never")

    _, outcome = rewritten("%out = exp(%x) : f32[S, 4]", never)
    assert not outcome.near_misses


def test_an_output_may_be_replaced_by_an_input() -> None:
    after, _ = rewritten("%0 = neg(%x) : f32[S, 4] %out = neg(%0) : f32[S, 4]", rules.double_negation)
    assert after == ["return out=%x"]


def test_the_last_axis_by_any_name() -> None:
    op = parse_program('program "p" graph g(%x: f32[S, 4]) { %0 = sum(%x) {axes=[1]} : f32[S] return y=%0 }')
    (sum_,) = op.graphs["g"]
    assert LAST(sum_, (1,))
    assert LAST(sum_, (-1,))
    assert LAST(sum_, -1)
    assert not LAST(sum_, (0,))
    assert not LAST(sum_, (0, 1))
