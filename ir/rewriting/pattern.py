"""Patterns: small graphs that say what to look for. Ops on patterns give patterns, so a rule reads like its maths.

    def rms_norm(x: Pattern, weight: Pattern, epsilon: Pattern) -> Pattern:
        mean_square = ops.mean(x * x, axes=LAST, keepdims=True)
        return x * ops.rsqrt(mean_square + epsilon) * weight

A pattern node that occurs twice must match one and the same value both times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from graphwright.ir.attributes import Attribute, attribute_text
from graphwright.ir.declare import REGISTRY, OpDef
from graphwright.ir.graph import Op

AttributeTest = Callable[[Op, Attribute], bool]


class Pattern:
    """Anything that can be matched against a value. Arithmetic builds larger patterns; numbers match constants."""

    __slots__ = ()

    def __add__(self, other: Pattern | float) -> Pattern:
        return REGISTRY["add"](self, other)

    def __radd__(self, other: float) -> Pattern:
        return REGISTRY["add"](other, self)

    def __sub__(self, other: Pattern | float) -> Pattern:
        return REGISTRY["sub"](self, other)

    def __mul__(self, other: Pattern | float) -> Pattern:
        return REGISTRY["mul"](self, other)

    def __rmul__(self, other: float) -> Pattern:
        return REGISTRY["mul"](other, self)

    def __truediv__(self, other: Pattern | float) -> Pattern:
        return REGISTRY["div"](self, other)

    def __rtruediv__(self, other: float) -> Pattern:
        return REGISTRY["div"](other, self)

    def __neg__(self) -> Pattern:
        return REGISTRY["neg"](self)


class Capture(Pattern):
    """Matches any value and gives it a name. `optional` also matches an operand that is absent."""

    __slots__ = ("name", "optional")

    def __init__(self, name: str, *, optional: bool = False) -> None:
        self.name = name
        self.optional = optional

    def __str__(self) -> str:
        return self.name


class Number(Pattern):
    """Matches a constant of this value, to the last bit of float32."""

    __slots__ = ("value",)

    def __init__(self, value: float) -> None:
        self.value = value

    def __str__(self) -> str:
        return attribute_text(self.value)


class OpPattern(Pattern):
    """Matches the result of an op with matching operands and attributes; attributes not named may be anything."""

    __slots__ = ("attributes", "definition", "operands")

    def __init__(self, definition: OpDef, operands: Sequence[Pattern | None], attributes: dict[str, Any]) -> None:
        self.definition = definition
        self.operands = tuple(operands)
        self.attributes = attributes

    def __str__(self) -> str:
        return self.definition.name


class Either(Pattern):
    """Matches what any of the alternatives matches; they are tried in order."""

    __slots__ = ("alternatives",)

    def __init__(self, alternatives: Sequence[Pattern]) -> None:
        self.alternatives = tuple(alternatives)

    def __str__(self) -> str:
        return " or ".join(map(str, self.alternatives))


@dataclass(frozen=True)
class AttributeCapture:
    """In place of an attribute's value: matches any and gives it a name."""

    name: str


def attribute(name: str) -> AttributeCapture:
    """An attribute of any value, kept under `name`."""
    return AttributeCapture(name)


def either(*alternatives: Pattern) -> Pattern:
    """Any of the alternatives."""
    return Either(alternatives)


def cast_or_not(pattern: Pattern) -> Pattern:
    """The pattern itself or a cast of it: half-precision models compute norms and softmax in float32."""
    # The cast first: a bare capture would match the cast itself and stop there.
    return Either([REGISTRY["cast"](pattern), pattern])


def last_axis(op: Op, value: Attribute) -> bool:
    """An attribute test: the axis, or the only axis, is the last one of the first operand."""
    rank = op.inputs[0].type.rank
    axes = value if isinstance(value, tuple) else (value,)
    return len(axes) == 1 and axes[0] in (-1, rank - 1)


LAST: AttributeTest = last_axis


def op_pattern(definition: OpDef, operands: Sequence[Pattern | float | None], attributes: dict[str, Any]) -> Pattern:
    """What calling a declared op gives. A misspelt attribute or a wrong number of operands is our bug, found here."""
    for name in attributes:
        assert name in definition.attributes, f"{definition.name} has no attribute {name}"
    wrapped = [Number(o) if isinstance(o, (int, float)) else o for o in operands]
    if not definition.variadic:
        assert len(wrapped) <= len(definition.operands), f"too many operands for {definition.name}"
        wrapped += [None] * (len(definition.operands) - len(wrapped))
    return OpPattern(definition, wrapped, attributes)
