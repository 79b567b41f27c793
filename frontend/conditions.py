"""Conditions on sizes under which a trace holds, as torch writes them down: which of them restrict nothing."""

import re
from collections.abc import Mapping

import numpy as np

from graphwright.frontend.expression_text import ExpressionError
from graphwright.frontend.guard_values import always_equal, where_it_holds
from graphwright.frontend.guards import Guard, Operation, Size, parse_guard, parts
from graphwright.ir.convention import SEQUENCE

Axes = Mapping[int, str]
"""The dynamic axes of an input and the symbols that stand for them: {0: "B", 1: "S"}."""

_ORDERS = frozenset({"<", "<=", ">", ">="})
_POLYNOMIAL = frozenset({"+", "-", "*", "**"})
SIZE = re.compile(r"L\['(\w+)'\](?:\[(\d+)\])?\.size\(\)\[(\d+)\]")


def restricts_nothing(guard: str) -> bool:
    """Whether a condition is told by the bounds of single sizes, sets only single sizes apart, or always holds.

    Bounds `bounds` tells as well; equal sizes share a symbol; unequal polynomials differ but for single sizes.
    """
    try:
        condition = parse_guard(guard)
    except ExpressionError:
        return False
    match condition.operator, condition.operands:
        case order, (Size(), int()) | (int(), Size()) if order in _ORDERS:
            return True
        case "==", (Size(), Size()):
            return True
        case "==", (left, right):
            return always_equal(left, right)
        case "!=", (left, right):
            return _is_polynomial(left) and _is_polynomial(right)
        case _:
            return False


def _is_polynomial(number: Guard) -> bool:
    return all(
        isinstance(part, (int, Size)) or (isinstance(part, Operation) and part.operator in _POLYNOMIAL)
        for part in parts(number)
    )


LONGEST_TRIED = 1 << 15
"""Up to this many tokens a condition on the length is tried one by one."""


def bound_on_sequence(guard: str, axes: Mapping[str, Axes]) -> int | None:
    """The longest sequence up to which a condition on nothing but the sequence holds; None if it is no such bound.

    It must hold for every length from one on and for none past the bound: that is tried, not read.
    """
    try:
        condition = parse_guard(guard)
    except ExpressionError:
        return None
    sizes = [part for part in parts(condition) if isinstance(part, Size)]
    if not sizes or any(symbol_of(size, axes) != SEQUENCE for size in sizes):
        return None
    holds = where_it_holds(condition, np.arange(1, LONGEST_TRIED, dtype=np.int64))
    if holds is None:
        return None
    bound = int(np.argmin(holds)) if not holds.all() else len(holds)
    return bound if bound and not holds[bound:].any() else None


def symbol_of(size: Size, axes: Mapping[str, Axes]) -> str | None:
    """The symbol that stands for a size of an input; None for a size that is not free."""
    inputs = list(axes)
    if size.element is None:
        name = size.input
    elif size.element < len(inputs):
        name = inputs[size.element]
    else:
        return None
    return axes.get(name, {}).get(size.axis)


def plain(guard: str) -> str:
    """Torch's name for the size of an input in words."""
    return SIZE.sub(lambda found: f"axis {found[3]} of input {found[2] or found[1]}", guard)
