"""A near miss is told only where nothing was recognized in the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import Builder, Value, ops
from graphwright.ir.rewriting import Match, Pattern, Rule, rule
from graphwright.ir.rewriting.near_misses import CLOSEST
from graphwright.passes import run_passes
from graphwright.passes.base import Pass, RulePass
from graphwright.passes.raising.activations import FuseActivations, FuseGLU
from graphwright.passes.raising.attention import UngroupQueries
from graphwright.passes.raising.masks import RaiseMasks
from graphwright.passes.raising.norms import FuseNorms
from graphwright.passes.simplifying.canonicalize import Canonicalize
from tests.passes.graphs import program
from tests.passes.raising.test_norms import W, rms


def told(before: str, weights: str, *passes: Pass) -> list[list[str]]:
    """The near misses of each pass."""
    report = run_passes(program(before, weights), passes)
    return [[str(miss) for miss in record.near_misses] for record in report.records]


GATED = """(%x: f32[B, 4], %up: f32[B, 4]) {
  %0 = sigmoid(%up) : f32[B, 4]
  %1 = activation(%x) {kind="silu"} : f32[B, 4]
  %2 = mul(%1, %0) : f32[B, 4]  at model.mlp
  return y=%2
}"""
NOT_SILU = "fuse-silu at model.mlp: "


def test_a_failure_is_told_until_a_later_pass_recognizes_the_place() -> None:
    (alone,) = told(GATED, "", FuseActivations())
    assert any(miss.startswith(NOT_SILU) for miss in alone), alone
    assert told(GATED, "", FuseActivations(), FuseGLU()) == [[], []]


def test_a_failure_inside_what_a_later_pass_recognizes_is_none() -> None:
    """The product of x and the inverse root, twice used, looks like the halves of GELU; it is part of a norm."""
    (first, second) = told(rms(), W, FuseActivations(), FuseNorms())
    assert (first, second) == ([], [])


def _near(x: Pattern) -> Pattern:
    return ops.pow(ops.sin(x) + 0.0, 2.0)


@rule(_near)
def near(match: Match, build: Builder) -> Value:
    return match["x"]


def _square(x: Pattern, y: Pattern) -> Pattern:
    return (x + y) * (x + y)


@rule(_square)
def square(match: Match, build: Builder) -> Value:
    return build(ops.cos, build(ops.add, match["x"], match["y"]))


@dataclass(frozen=True)
class Near(RulePass):
    name: ClassVar[str] = "near"
    rules: ClassVar[tuple[Rule, ...]] = (near,)


@dataclass(frozen=True)
class Square(RulePass):
    name: ClassVar[str] = "square"
    rules: ClassVar[tuple[Rule, ...]] = (square,)


SQUARE = """(%x: f32[B, 4]) {
  %0 = constant() {value=1.0, dtype=f32} : f32[]
  %1 = constant() {value=2.0, dtype=f32} : f32[]
  %2 = sin(%x) : f32[B, 4]
  %3 = add(%2, %0) : f32[B, 4]
  %4 = pow(%3, %1) : f32[B, 4]  at model.wave
  return y=%4
}"""


def test_another_spelling_settles_nothing_but_is_followed() -> None:
    """Canonicalization makes a product of the power."""
    missed = ["near at model.wave: expected the constant 0.0, found the constant 1.0"]
    assert told(SQUARE, "", Near(), Canonicalize()) == [missed, []]
    assert told(SQUARE, "", Near(), Canonicalize(), Square()) == [[], [], []]


ATTENTION = """(%q: f32[B, 4, S, 8], %k: f32[B, 2, 2, S, 8], %v: f32[B, 2, 2, S, 8]) {
  %0 = iota() {size=S, dtype=i64} : i64[S]
  %1 = reshape(%0) {shape=[1, S]} : i64[1, S]
  %2 = reshape(%0) {shape=[S, 1]} : i64[S, 1]
  %3 = le(%1, %2) : bool[S, S]
  %5 = reshape(%k) {shape=[B, 2, 2, S, 8]} : f32[B, 2, 2, S, 8]
  %6 = expand(%5) {shape=[B, 2, 2, S, 8]} : f32[B, 2, 2, S, 8]
  %7 = reshape(%6) {shape=[B, 4, S, 8]} : f32[B, 4, S, 8]
  %8 = reshape(%v) {shape=[B, 4, S, 8]} : f32[B, 4, S, 8]
  %9 = attention(%q, %7, %8, %1, bias=%3) {scale=1.0, mask="full"} : f32[B, 4, S, 8]  at model.attention
  return y=%9
}"""


def test_what_gives_way_to_an_op_of_its_own_kind_may_still_be_missed() -> None:
    """That the mask of an attention is recognized says nothing about its groups."""
    first, second = told(ATTENTION, "", UngroupQueries(), RaiseMasks())
    assert len(first) == 1, first
    assert first[0].startswith("ungroup-queries at model.attention: expected expand, found ")
    assert second == []


def squares(location: str) -> str:
    """More squares, one of another, than a rule may tell about; `{}` in the location is the number of each."""
    lines = ["%one = constant() {value=1.0, dtype=f32} : f32[]", "%two = constant() {value=2.0, dtype=f32} : f32[]"]
    value = "%x"
    for i in range(CLOSEST + 1):
        lines += [
            f"%s{i} = sin({value}) : f32[B, 4]",
            f"%a{i} = add(%s{i}, %one) : f32[B, 4]",
            f"%p{i} = pow(%a{i}, %two) : f32[B, 4] at {location.format(i)}",
        ]
        value = f"%p{i}"
    return f"(%x: f32[B, 4]) {{ {' '.join(lines)} return y={value} }}"


def test_equal_failures_are_told_once_and_only_the_closest_of_others() -> None:
    assert len(told(squares("model"), "", Near())[0]) == 1
    assert len(told(squares("model.{}"), "", Near())[0]) == CLOSEST
