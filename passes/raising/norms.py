"""RMSNorm and LayerNorm, out of their elementwise spellings."""

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import Builder, Value, ops
from graphwright.ir.rewriting import LAST, Match, Pattern, Refusal, Rule, attribute, cast_or_not, rule
from graphwright.passes.base import RulePass, register


def _normalized(x: Pattern, epsilon: Pattern) -> Pattern:
    """x over its root mean square, perhaps computed in float32."""
    wide = cast_or_not(x)
    mean_square = ops.mean(wide * wide, axes=LAST, keepdims=True)
    return cast_or_not(wide * ops.rsqrt(mean_square + epsilon))


def _standardized(x: Pattern, epsilon: Pattern) -> Pattern:
    """x less its mean, over its standard deviation, with the variance as one op."""
    difference = x - ops.mean(x, axes=LAST, keepdims=True)
    return difference * ops.rsqrt(ops.var(x, axes=LAST, keepdims=True) + epsilon)


@rule(lambda x, weight, epsilon: _normalized(x, epsilon) * weight)
def fuse_rms_norm(match: Match, build: Builder) -> Value | Refusal:
    x, weight, epsilon = match["x"], match["weight"], match.number("epsilon")
    if epsilon is None:
        return Refusal("epsilon is not a constant")
    if weight.type.shape != x.type.shape[-1:] or weight.weight is None:
        return Refusal(f"the factor {weight.type} is not a weight of the last axis of {x.type}")
    if not x.tensor.dtype is weight.tensor.dtype is match.root.result.tensor.dtype:
        return Refusal(
            f"x is {x.tensor.dtype}, weight {weight.tensor.dtype}, the result {match.root.result.tensor.dtype}"
        )
    return build(ops.rms_norm, x, weight, epsilon=epsilon)


@rule(lambda x, weight, epsilon: _standardized(x, epsilon) * weight)
def fuse_layer_norm(match: Match, build: Builder) -> Value | Refusal:
    x, weight, epsilon = match["x"], match["weight"], match.number("epsilon")
    if epsilon is None:
        return Refusal("epsilon is not a constant")
    if weight.weight is None or weight.type.shape != x.type.shape[-1:]:
        return Refusal(f"the factor {weight.type} is not a weight of the last axis of {x.type}")
    return build(ops.layer_norm, x, weight, epsilon=epsilon)


def _rms_norm_of_centred(x: Pattern, weight: Pattern) -> Pattern:
    difference = x - ops.mean(x, axes=LAST, keepdims=True)
    return ops.rms_norm(difference, weight, epsilon=attribute("epsilon"))


@rule(_rms_norm_of_centred)
def centred_rms_norm(match: Match, build: Builder) -> Value | Refusal:
    """RMSNorm of x less its mean is LayerNorm without a bias: both divide by the root of the same mean square."""
    return build(ops.layer_norm, match["x"], match["weight"], epsilon=match.attributes["epsilon"])


@rule(lambda x, weight, bias: ops.layer_norm(x, weight, epsilon=attribute("epsilon")) + bias)
def add_norm_bias(match: Match, build: Builder) -> Value | Refusal:
    x, bias = match["x"], match["bias"]
    if bias.weight is None or bias.type.shape != x.type.shape[-1:]:
        return Refusal("what is added is not a bias")
    return build(ops.layer_norm, x, match["weight"], bias, epsilon=match.attributes["epsilon"])


@register
@dataclass(frozen=True)
class FuseNorms(RulePass):
    """The spelled-out norms become `rms_norm` and `layer_norm`."""

    name: ClassVar[str] = "fuse-norms"
    rules: ClassVar[tuple[Rule, ...]] = (fuse_rms_norm, fuse_layer_norm, centred_rms_norm, add_norm_bias)
