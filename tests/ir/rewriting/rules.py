"""Rules that the tests rewrite with. Each keeps the value of what it replaces, up to rounding."""

from __future__ import annotations

from graphwright.ir import Builder, Value, ops
from graphwright.ir.rewriting import LAST, Match, Pattern, Refusal, attribute, cast_or_not, either, rule


def _rms_norm(x: Pattern, weight: Pattern, epsilon: Pattern) -> Pattern:
    return weight * (x * ops.rsqrt(ops.mean(x * x, axes=LAST, keepdims=True) + epsilon))


@rule(_rms_norm)
def rms_norm(match: Match, build: Builder) -> Value | Refusal:
    epsilon = match.number("epsilon")
    if epsilon is None:
        return Refusal("epsilon is not a constant")
    if match["weight"].type.rank != 1:
        return Refusal(f"weight is {match['weight'].type}, expected one axis")
    return build(ops.rms_norm, match["x"], match["weight"], epsilon=epsilon)


def _silu(x: Pattern) -> Pattern:
    return x * ops.sigmoid(x)


@rule(_silu)
def silu(match: Match, build: Builder) -> Value:
    return build(ops.activation, match["x"], kind="silu")


def _glu(gate: Pattern, up: Pattern) -> Pattern:
    return ops.activation(gate, kind=attribute("kind")) * up


@rule(_glu)
def glu(match: Match, build: Builder) -> Value | Refusal:
    if match["gate"].type != match["up"].type:
        return Refusal("gate and up have different types")
    return build(ops.glu, match["gate"], match["up"], kind=match.attributes["kind"])


def _double_negation(x: Pattern) -> Pattern:
    return ops.neg(-x)


@rule(_double_negation)
def double_negation(match: Match, build: Builder) -> Value:
    return match["x"]


def _times_one(x: Pattern) -> Pattern:
    return x * 1.0


def _plus_zero(x: Pattern) -> Pattern:
    return x + 0.0


@rule(_times_one, _plus_zero, name="identity")
def identity(match: Match, build: Builder) -> Value | Refusal:
    if match["x"].type != match.root.result.type:
        return Refusal("the constant broadcasts")
    return match["x"]


def _factor(a: Pattern, b: Pattern, c: Pattern) -> Pattern:
    return a * b + a * c


@rule(_factor)
def factor(match: Match, build: Builder) -> Value:
    return build(ops.mul, match["a"], build(ops.add, match["b"], match["c"]))


def _linear_bias(x: Pattern, weight: Pattern, bias: Pattern) -> Pattern:
    return ops.linear(x, weight) + bias


@rule(_linear_bias)
def linear_bias(match: Match, build: Builder) -> Value | Refusal:
    if match["bias"].type.rank != 1:
        return Refusal("bias has more than one axis")
    return build(ops.linear, match["x"], match["weight"], match["bias"])


def _doubled_norm(x: Pattern, weight: Pattern, bias: Pattern | None = None) -> Pattern:
    return ops.layer_norm(cast_or_not(x), weight, bias, epsilon=attribute("epsilon")) * 2.0


@rule(_doubled_norm)
def doubled_norm(match: Match, build: Builder) -> Value | Refusal:
    if match["x"].type != match.root.result.type:
        return Refusal("the cast changes the type")
    two = build.constant(2.0, match["weight"].tensor.dtype)
    bias = match.get("bias")
    return build(
        ops.layer_norm,
        match["x"],
        build(ops.mul, match["weight"], two),
        None if bias is None else build(ops.mul, bias, two),
        epsilon=match.attributes["epsilon"],
    )


def _difference(x: Pattern, y: Pattern) -> Pattern:
    return either(ops.exp(x), ops.sin(x)) - either(ops.exp(y), ops.sin(y))


@rule(_difference)
def difference(match: Match, build: Builder) -> Value:
    left, right = match.root.operands
    assert left is not None
    assert right is not None
    return build(ops.neg, build(ops.sub, right, left))


SOUND = [rms_norm, silu, glu, double_negation, identity, factor]
