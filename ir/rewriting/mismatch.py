"""Why an attempt to match failed, in words."""

from dataclasses import dataclass
from typing import Any

from graphwright.ir.attributes import Attribute, attribute_text
from graphwright.ir.graph import Op, Value
from graphwright.ir.rewriting.pattern import AttributeCapture, AttributeTest


@dataclass(frozen=True)
class Mismatch:
    """The deepest failure of an attempt: how many ops had matched, what was expected, and what was found instead.

    `found` is the value that did not fit, None for an operand that is absent; `what` says of it what did not fit, if
    that was not its op.
    """

    matched: int
    expected: str
    found: Value | None
    what: str = ""

    def __str__(self) -> str:
        return f"expected {self.expected}, found {described(self.found, self.what)}"


def described(value: Value | None, what: str = "") -> str:
    """A value by what made it and where, or `what` and where."""
    if value is None:
        return what or "no operand"
    if value.owner is not None:
        place = f" at {value.owner.location}" if value.owner.location else ""
        return (what or value.owner.name) + place
    return what or (f"weight {value.name}" if value.weight else f"input {value.name}")


def wish(op: Op, name: str, wanted: Any) -> str:
    """The op with the attribute that a pattern asks for."""
    if isinstance(wanted, AttributeTest):
        return f"{op.name} {wanted.wish}"
    if isinstance(wanted, AttributeCapture):
        return f"{op.name} with the same {name} as before it"
    return f"{op.name} with {name}={attribute_text(wanted)}"


def instead(op: Op, name: str, found: Attribute, wanted: Any) -> str:
    """The attribute that the op has."""
    return wanted.found(op, found) if isinstance(wanted, AttributeTest) else f"{name}={attribute_text(found)}"
