"""Rules that the tests rewrite with. Each keeps the value of what it replaces, up to rounding."""

from __future__ import annotations

from graphwright.ir import Builder, Value, ops
from graphwright.ir.rewriting import LAST, Match, Pattern, Refusal, attribute, cast_or_not, either, rule


@rule(lambda x, weight, epsilon: weight * (x * ops.rsqrt(ops.mean(x * x, axes=LAST, keepdims=True) + epsilon)))
def rms_norm(match: Match, build: Builder) -> Value | Refusal:
    epsilon = match.number("epsilon")
    if epsilon is None:
        return Refusal("epsilon is not a constant")
    if match["weight"].type.rank != 1:
        return Refusal(f"weight is {match['weight'].type}, expected one axis")
    return build(ops.rms_norm, match["x"], match["weight"], epsilon=epsilon)


@rule(lambda x: x * ops.sigmoid(x))
def silu(match: Match, build: Builder) -> Value:
    return build(ops.activation, match["x"], kind="silu")


@rule(lambda gate, up: ops.activation(gate, kind=attribute("kind")) * up)
def glu(match: Match, build: Builder) -> Value | Refusal:
    if match["gate"].type != match["up"].type:
        return Refusal("gate and up have different types")
    return build(ops.glu, match["gate"], match["up"], kind=match.attributes["kind"])


@rule(lambda x: ops.neg(-x))
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


@rule(lambda a, b, c: a * b + a * c)
def factor(match: Match, build: Builder) -> Value:
    return build(ops.mul, match["a"], build(ops.add, match["b"], match["c"]))


@rule(lambda x, weight, bias: ops.linear(x, weight) + bias)
def linear_bias(match: Match, build: Builder) -> Value | Refusal:
    if match["bias"].type.rank != 1:
        return Refusal("bias has more than one axis")
    return build(ops.linear, match["x"], match["weight"], match["bias"])


@rule(lambda x, weight, bias=None: ops.layer_norm(cast_or_not(x), weight, bias, epsilon=attribute("epsilon")) * 2.0)
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


@rule(lambda x, y: either(ops.exp(x), ops.sin(x)) - either(ops.exp(y), ops.sin(y)))
def difference(match: Match, build: Builder) -> Value:
    left, right = match.root.operands
    assert left is not None
    assert right is not None
    return build(ops.neg, build(ops.sub, right, left))


SOUND = [rms_norm, silu, glu, double_negation, identity, factor]
