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


class Pattern:
    """Anything that can be matched against a value. Arithmetic builds larger patterns; numbers match constants."""

    __slots__ = ()

    @property
    def within(self) -> frozenset[OpPattern]:
        """The ops that a match has at least; of alternatives, those of the smallest."""
        return frozenset()

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

    __slots__ = ("_below", "attributes", "definition", "operands")

    def __init__(self, definition: OpDef, operands: Sequence[Pattern | None], attributes: dict[str, Any]) -> None:
        self.definition = definition
        self.operands = tuple(operands)
        self.attributes = attributes
        self._below = frozenset[OpPattern]().union(*(o.within for o in operands if o is not None))

    @property
    def within(self) -> frozenset[OpPattern]:
        return self._below | {self}

    def __str__(self) -> str:
        return self.definition.name


class Either(Pattern):
    """Matches what any of the alternatives matches; they are tried in order."""

    __slots__ = ("alternatives",)

    def __init__(self, alternatives: Sequence[Pattern]) -> None:
        self.alternatives = tuple(alternatives)

    @property
    def within(self) -> frozenset[OpPattern]:
        return min((a.within for a in self.alternatives), key=len)

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


@dataclass(frozen=True)
class AttributeTest:
    """In place of an attribute's value: a condition on it, and words for what is wished and what is found."""

    fits: Callable[[Op, Attribute], bool]
    wish: str
    """Follows the op's name: `over the last axis`."""
    found: Callable[[Op, Attribute], str]

    def __call__(self, op: Op, value: Attribute) -> bool:
        return self.fits(op, value)


def _axes(op: Op, value: Attribute) -> list[int]:
    """Axes of the first operand, counted from the front."""
    rank = op.inputs[0].type.rank
    return [a % rank for a in (value if isinstance(value, tuple) else (value,)) if isinstance(a, int)]


def _is_last(op: Op, value: Attribute) -> bool:
    return _axes(op, value) == [op.inputs[0].type.rank - 1]


def _axes_text(op: Op, value: Attribute) -> str:
    axes = _axes(op, value)
    return f"ax{'i' if len(axes) == 1 else 'e'}s {' and '.join(map(str, axes)) or 'none'}"


LAST = AttributeTest(_is_last, "over the last axis", _axes_text)
"""The axis, or the only axis, is the last one of the first operand."""


def op_pattern(definition: OpDef, operands: Sequence[Pattern | float | None], attributes: dict[str, Any]) -> Pattern:
    """What calling a declared op gives. A misspelt attribute or a wrong number of operands is our bug, found here."""
    for name in attributes:
        assert name in definition.attributes, f"{definition.name} has no attribute {name}"
    wrapped = [Number(o) if isinstance(o, (int, float)) else o for o in operands]
    if not definition.variadic:
        assert len(wrapped) <= len(definition.operands), f"too many operands for {definition.name}"
        wrapped += [None] * (len(definition.operands) - len(wrapped))
    return OpPattern(definition, wrapped, attributes)
