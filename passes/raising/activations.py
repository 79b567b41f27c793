"""Activation functions, gated units and soft caps, out of their elementwise spellings."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import Builder, Value, ops
from graphwright.ir.rewriting import Match, Pattern, Refusal, Rule, attribute, either, rule
from graphwright.passes.base import RulePass, register


def _activation(kind: str, *patterns: Callable[[Pattern], Pattern]) -> Rule:
    @rule(*patterns, name=f"fuse-{kind.replace('_', '-')}")
    def fuse(match: Match, build: Builder) -> Value | Refusal:
        return build(ops.activation, match["x"], kind=kind)

    return fuse


def _erf(x: Pattern) -> Pattern:
    return 1.0 + ops.erf(either(x / math.sqrt(2.0), x * math.sqrt(0.5)))


def _tanh(x: Pattern) -> Pattern:
    """Hendrycks & Gimpel 2016, section 2: the approximation's tanh term plus one."""
    cube = either(ops.pow(x, 3.0), x * (x * x))
    inner = x + 0.044715 * cube
    factored = x * (1.0 + 0.044715 * (x * x))
    argument = either(inner, factored) * math.sqrt(2.0 / math.pi)
    spread = (x * math.sqrt(2.0 / math.pi)) * (1.0 + (x * 0.044715) * x)
    return 1.0 + ops.tanh(either(argument, spread))


@rule(lambda gate, up: ops.activation(gate, kind=attribute("kind")) * up)
def fuse_glu(match: Match, build: Builder) -> Value | Refusal:
    gate, up = match["gate"], match["up"]
    if gate.type != up.type:
        return Refusal(f"gate is {gate.type} and up {up.type}")
    if up.weight is not None or up.owner is None or up.defined_by(ops.constant):
        return Refusal("the factor is not a projection")
    return build(ops.glu, gate, up, kind=match.attributes["kind"])


def _capped(x: Pattern, cap: Pattern, again: Pattern) -> Pattern:
    return either(ops.tanh(x / cap), ops.activation(x / cap, kind="tanh")) * again


@rule(_capped)
def fuse_softcap(match: Match, build: Builder) -> Value | Refusal:
    cap = match.number("cap")
    if cap is None or match.number("again") != cap:
        return Refusal("the two factors are not the same constant")
    return build(ops.softcap, match["x"], cap=cap)


@register
@dataclass(frozen=True)
class FuseActivations(RulePass):
    """x * sigmoid(x), the erf and tanh spellings of GELU, and soft caps become one op each."""

    name: ClassVar[str] = "fuse-activations"
    rules: ClassVar[tuple[Rule, ...]] = (
        _activation("silu", lambda x: x * either(ops.sigmoid(x), ops.activation(x, kind="sigmoid"))),
        _activation(
            "quick_gelu", lambda x: x * either(ops.sigmoid(x * 1.702), ops.activation(x * 1.702, kind="sigmoid"))
        ),
        _activation(
            "gelu", lambda x: (x * 0.5) * _erf(x), lambda x: x * (_erf(x) * 0.5), lambda x: (x * _erf(x)) * 0.5
        ),
        _activation(
            "gelu_tanh", lambda x: (x * 0.5) * _tanh(x), lambda x: x * (_tanh(x) * 0.5), lambda x: (x * _tanh(x)) * 0.5
        ),
        fuse_softcap,
    )


@register
@dataclass(frozen=True)
class FuseGLU(RulePass):
    """activation(gate) * up becomes `glu` (Shazeer 2020)."""

    name: ClassVar[str] = "fuse-glu"
    rules: ClassVar[tuple[Rule, ...]] = (fuse_glu,)
