"""RMSNorm and LayerNorm, out of their elementwise spellings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import Builder, Value, ops
from graphwright.ir.rewriting import LAST, Match, Pattern, Refusal, Rule, cast_or_not, either, rule
from graphwright.passes.base import RulePass, register


def _normalized(x: Pattern, epsilon: Pattern) -> Pattern:
    """x over its root mean square, perhaps computed in float32."""
    wide = cast_or_not(x)
    mean_square = ops.mean(wide * wide, axes=LAST, keepdims=True)
    return cast_or_not(wide * ops.rsqrt(mean_square + epsilon))


def _rms_norm(x: Pattern, weight: Pattern, epsilon: Pattern) -> Pattern:
    return _normalized(x, epsilon) * weight


@rule(_rms_norm)
def fuse_rms_norm(match: Match, build: Builder) -> Value | Refusal:
    x, weight, epsilon = match["x"], match["weight"], match.number("epsilon")
    if epsilon is None:
        return Refusal("epsilon is no constant")
    if weight.type.shape != x.type.shape[-1:] or weight.weight is None:
        return Refusal(f"the factor {weight.type} is no weight of the last axis of {x.type}")
    if not x.tensor.dtype is weight.tensor.dtype is match.root.result.tensor.dtype:
        return Refusal(
            f"x is {x.tensor.dtype}, weight {weight.tensor.dtype}, the result {match.root.result.tensor.dtype}"
        )
    return build(ops.rms_norm, x, weight, epsilon=epsilon)


def _centred(x: Pattern, epsilon: Pattern) -> Pattern:
    """x less its mean, over its standard deviation."""
    difference = x - ops.mean(x, axes=LAST, keepdims=True)
    variance = either(ops.mean(difference * difference, axes=LAST, keepdims=True), ops.var(x, axes=LAST, keepdims=True))
    return difference * ops.rsqrt(variance + epsilon)


def _layer_norm(x: Pattern, weight: Pattern, bias: Pattern, epsilon: Pattern) -> Pattern:
    return _centred(x, epsilon) * weight + bias


def _layer_norm_without_bias(x: Pattern, weight: Pattern, epsilon: Pattern) -> Pattern:
    return _centred(x, epsilon) * weight


@rule(_layer_norm)
def fuse_layer_norm(match: Match, build: Builder) -> Value | Refusal:
    return _build_layer_norm(match, build, match["bias"])


@rule(_layer_norm_without_bias)
def fuse_layer_norm_without_bias(match: Match, build: Builder) -> Value | Refusal:
    if any(user.definition is ops.add for user in match.root.result.users):
        return Refusal("a bias may follow")
    return _build_layer_norm(match, build, None)


def _build_layer_norm(match: Match, build: Builder, bias: Value | None) -> Value | Refusal:
    x, epsilon = match["x"], match.number("epsilon")
    if epsilon is None:
        return Refusal("epsilon is no constant")
    for value in (match["weight"], bias):
        if value is not None and (value.weight is None or value.type.shape != x.type.shape[-1:]):
            return Refusal(f"{value.type} is no weight of the last axis of {x.type}")
    return build(ops.layer_norm, x, match["weight"], bias, epsilon=epsilon)


@register
@dataclass(frozen=True)
class FuseNorms(RulePass):
    """The spelled-out norms become `rms_norm` and `layer_norm`."""

    name: ClassVar[str] = "fuse-norms"
    rules: ClassVar[tuple[Rule, ...]] = (fuse_rms_norm, fuse_layer_norm, fuse_layer_norm_without_bias)
