"""Matches patterns against values, with full backtracking, and remembers how far the best attempt came."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

from graphwright.ir.attributes import Attribute, attribute_text, same
from graphwright.ir.declare import REGISTRY, OpDef
from graphwright.ir.graph import Op, Value
from graphwright.ir.rewriting.mismatch import Mismatch, described, instead, wish
from graphwright.ir.rewriting.pattern import (
    AttributeCapture,
    AttributeTest,
    Capture,
    Either,
    Number,
    OpPattern,
    Pattern,
)

if TYPE_CHECKING:
    from graphwright.ir.program import Program

Kind = TypeVar("Kind")
Goals = tuple[tuple[Pattern | None, Value | None], "Goals"] | None


@dataclass
class Match:
    """A successful match: the root op and what the captures stand for."""

    root: Op
    program: Program
    ops: tuple[Op, ...]
    """The ops that the pattern's own stand for, the root among them."""
    values: dict[str, Value] = field(default_factory=dict[str, Value])
    attributes: dict[str, Attribute] = field(default_factory=dict[str, Attribute])
    declared: dict[str, tuple[OpDef, str]] = field(default_factory=dict[str, "tuple[OpDef, str]"])
    """Of captured attributes the op and the name under which it declares them."""

    @property
    def size(self) -> int:
        """How many ops of the pattern matched."""
        return len(self.ops)

    def __getitem__(self, name: str) -> Value:
        return self.values[name]

    def get(self, name: str) -> Value | None:
        """The value of an optional capture, None if the operand is absent."""
        return self.values.get(name)

    def number(self, name: str) -> float | None:
        """The number that a capture stands for, None if it is no constant."""
        return number(self.values[name])

    def attribute(self, name: str, *kinds: type[Kind]) -> Kind:
        """A captured attribute, typed as `Op.attribute` types those of an op."""
        definition, own = self.declared[name]
        definition.require_kind(own, kinds)
        return cast("Kind", self.attributes[name])


def number(value: Value) -> float | None:
    """The number with which a value is filled, None if it is not a constant."""
    constant = value.defined_by(REGISTRY["constant"])
    if constant is None:
        return None
    filled = constant.attributes["value"]
    return filled if isinstance(filled, (int, float)) else None


class Matcher:
    """One attempt after another against the same program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.mismatch: Mismatch | None = None
        self._reach = (0, 0)
        self._bound: dict[Pattern, Value | None] = {}
        self._attributes: dict[str, Attribute] = {}
        self._declared: dict[str, tuple[OpDef, str]] = {}
        self._matched = 0

    def match(self, pattern: OpPattern, root: Op) -> Match | None:
        """The match rooted at the op's result, or None; then `mismatch` says how far it came."""
        self.mismatch = None
        self._bound = {}
        self._attributes = {}
        self._declared = {}
        self._matched = 0
        if not self._solve(((pattern, root.results[0]), None)):
            return None
        ops = [v.owner for p, v in self._bound.items() if isinstance(p, OpPattern) and v is not None]
        taken = tuple(op for op in ops if op is not None)
        match = Match(root, self.program, taken, attributes=dict(self._attributes), declared=dict(self._declared))
        for node, value in self._bound.items():
            if isinstance(node, Capture) and value is not None:
                match.values[node.name] = value
        return match

    def _fail(self, expected: str, found: Value | None, what: str = "") -> bool:
        # Of two failures after as many ops, the one with more values bound came further.
        reach = (self._matched, len(self._bound))
        if self.mismatch is None or reach > self._reach:
            self._reach = reach
            self.mismatch = Mismatch(self._matched, expected, found, what)
        return False

    def _solve(self, goals: Goals) -> bool:
        if goals is None:
            return True
        (pattern, value), rest = goals
        if pattern is None:
            return self._solve(rest) if value is None else self._fail("no operand", value)
        if pattern in self._bound:
            if self._bound[pattern] is value:
                return self._solve(rest)
            return self._fail(f"{described(self._bound[pattern])} again", value)
        if isinstance(pattern, Either):
            self._bound[pattern] = value
            if any(self._solve(((option, value), rest)) for option in pattern.alternatives):
                return True
            del self._bound[pattern]
            return False
        if value is None:
            if not (isinstance(pattern, Capture) and pattern.optional):
                return self._fail(str(pattern), None)
        elif isinstance(pattern, Number):
            filled = number(value)
            if filled is None or not _close(filled, pattern.value):
                found = "" if filled is None else f"the constant {attribute_text(filled)}"
                return self._fail(f"the constant {pattern}", value, found)
        elif isinstance(pattern, OpPattern):
            return self._solve_op(pattern, value, rest)
        self._bound[pattern] = value
        if self._solve(rest):
            return True
        del self._bound[pattern]
        return False

    def _solve_op(self, pattern: OpPattern, value: Value, rest: Goals) -> bool:
        op = value.owner
        if op is None or op.definition is not pattern.definition:
            return self._fail(pattern.definition.name, value)
        if len(op.results) != 1:
            return self._fail(f"{op.name} with one result", value, f"{len(op.results)} results")
        if len(op.operands) != len(pattern.operands):
            return self._fail(f"{op.name} of {len(pattern.operands)} operands", value, f"{len(op.operands)} operands")
        added: list[str] = []
        if not (self._operands_present(pattern, op) and self._attributes_match(pattern, op, added)):
            self._drop(added)
            return False
        self._bound[pattern] = value
        self._matched += 1
        orders = [op.operands, op.operands[::-1]] if op.definition.commutative else [op.operands]
        for operands in orders:
            goals = rest
            for goal in zip(reversed(pattern.operands), reversed(operands), strict=True):
                goals = (goal, goals)
            if self._solve(goals):
                return True
        self._matched -= 1
        del self._bound[pattern]
        self._drop(added)
        return False

    def _drop(self, names: list[str]) -> None:
        for name in names:
            del self._attributes[name]

    def _attributes_match(self, pattern: OpPattern, op: Op, added: list[str]) -> bool:
        for name, wanted in pattern.attributes.items():
            found = op.attributes[name]
            if isinstance(wanted, AttributeCapture):
                if wanted.name not in self._attributes:
                    self._attributes[wanted.name] = found
                    self._declared[wanted.name] = op.definition, name
                    added.append(wanted.name)
                    continue
                fits = same(self._attributes[wanted.name], found)
            else:
                fits = wanted(op, found) if isinstance(wanted, AttributeTest) else same(wanted, found)
            if not fits:
                return self._fail_within(wish(op, name, wanted), op, instead(op, name, found, wanted))
        return True

    def _operands_present(self, pattern: OpPattern, op: Op) -> bool:
        """Whether operands are absent where they should be; those that a pattern may do without are matched later."""
        if op.definition.variadic:
            return True
        for declared, wanted, value in zip(op.definition.operands, pattern.operands, op.operands, strict=True):
            if wanted is None and value is not None:
                return self._fail_within(f"{op.name} without {declared.name}", op, f"one with {declared.name}")
        return True

    def _fail_within(self, expected: str, op: Op, what: str) -> bool:
        """The op is the right one, so this attempt came further than one that met another op."""
        self._matched += 1
        self._fail(expected, op.results[0], what)
        self._matched -= 1
        return False


def _close(found: float, wanted: float) -> bool:
    return found == wanted or _as_float32(found) == _as_float32(wanted)


def _as_float32(value: float) -> float | str:
    """The nearest float32; a NaN equals itself."""
    try:
        (rounded,) = struct.unpack("f", struct.pack("f", value))
    except OverflowError:
        return value
    return "nan" if rounded != rounded else rounded
