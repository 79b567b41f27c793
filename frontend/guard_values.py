"""What is known of conditions on sizes: for which lengths they hold, and whether they hold for all."""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from graphwright.frontend.guards import Guard, Operation, Other, Size

_ARITHMETIC: Mapping[str, Any] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "//": np.floor_divide, "%": np.mod,
    "min": np.minimum, "max": np.maximum,
    "==": np.equal, "!=": np.not_equal, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
    "and": np.logical_and, "or": np.logical_or,
}  # fmt: skip
_EXACT_BITS = 62
"""A value of more bits might not fit into 64-bit integers."""


def where_it_holds(guard: Operation, lengths: np.ndarray) -> np.ndarray | None:
    """Whether a condition holds, for each of several values of every size in it; None where that can't be told.

    It can't where a value might pass 62 bits, where a divisor is zero, and for facts that are no sizes.
    """
    bits = int(lengths.max()).bit_length()
    if _bits(guard, bits) > _EXACT_BITS:
        return None
    try:
        return np.broadcast_to(_values(guard, lengths), lengths.shape)
    except ZeroDivisionError:
        return None


def _bits(guard: Guard, size: int) -> int:
    """An upper bound of the bits of every value on the way, for sizes of so many bits."""
    if isinstance(guard, int):
        return guard.bit_length()
    if isinstance(guard, Size):
        return size
    if isinstance(guard, Other):
        return _EXACT_BITS + 1
    if guard.operator == "**":
        base, power = guard.operands
        return _bits(base, size) * (power if isinstance(power, int) else _EXACT_BITS + 1)
    each = [_bits(operand, size) for operand in guard.operands]
    if guard.operator == "*":
        return sum(each)
    return max(each) + (len(each).bit_length() if guard.operator in "+-" else 0)


def _values(guard: Guard, lengths: np.ndarray) -> Any:
    if isinstance(guard, int):
        return np.int64(guard)
    if not isinstance(guard, Operation):
        return lengths
    if guard.operator == "**":
        base, power = guard.operands
        return reduce(np.multiply, [_values(base, lengths)] * int(str(power)))
    operands = [_values(operand, lengths) for operand in guard.operands]
    if guard.operator == "not":
        return np.logical_not(operands[0])
    if guard.operator in ("//", "%") and not np.all(operands[1]):
        raise ZeroDivisionError
    return reduce(_ARITHMETIC[guard.operator], operands)


Polynomial = frozenset[tuple[tuple[Any, ...], int]]
"""Monomials, each a sorted tuple of variables, with their coefficients.

A variable is the name of a size, or ("min", the polynomials it is the least of, how many variables these hold).
"""

MOST_TERMS, MOST_COEFFICIENT_BITS, MOST_FACTORS = 100, 128, 32


class TooLargeError(ArithmeticError):
    """A polynomial has more than `MOST_TERMS` terms, or a coefficient or monomial past its limit."""


def always_equal(left: Guard, right: Guard) -> bool:
    """Whether two numbers made of sizes by +, * and min are equal for all sizes from one on; False where unknown."""
    try:
        a, b = _polynomial(left), _polynomial(right)
    except TooLargeError:
        return False
    return a is not None and a == b


def _polynomial(guard: Guard) -> Polynomial | None:
    """A number as a polynomial of what each size has beyond one; None if it is not made by +, * and min."""
    if isinstance(guard, int):
        return _made({(): guard}) if guard >= 0 else None
    if isinstance(guard, Size):
        return _made({(): 1, (repr(guard),): 1})
    if isinstance(guard, Other):
        return None
    if guard.operator == "**":
        base, power = _polynomial(guard.operands[0]), guard.operands[1]
        return None if base is None or not isinstance(power, int) else reduce(_times, [base] * power)
    operands = [_polynomial(operand) for operand in guard.operands]
    known = [operand for operand in operands if operand is not None]
    if len(known) < len(operands) or guard.operator not in ("+", "*", "min"):
        return None
    return _least(known) if guard.operator == "min" else reduce(_plus if guard.operator == "+" else _times, known)


def _made(terms: Mapping[tuple[Any, ...], int]) -> Polynomial:
    if len(terms) > MOST_TERMS or any(abs(c).bit_length() > MOST_COEFFICIENT_BITS for c in terms.values()):
        raise TooLargeError
    return frozenset((monomial, c) for monomial, c in terms.items() if c)


def _plus(a: Polynomial, b: Polynomial, sign: int = 1) -> Polynomial:
    total = dict(a)
    for monomial, c in b:
        total[monomial] = total.get(monomial, 0) + sign * c
    return _made(total)


def _times(a: Polynomial, b: Polynomial) -> Polynomial:
    total: dict[tuple[Any, ...], int] = {}
    if len(a) * len(b) > 4 * MOST_TERMS:
        raise TooLargeError
    for left, x in a:
        for right, y in b:
            if _factors(left) + _factors(right) > MOST_FACTORS:
                raise TooLargeError
            monomial = tuple(sorted((*left, *right), key=repr))
            total[monomial] = total.get(monomial, 0) + x * y
    return _made(total)


def _least(values: Sequence[Polynomial]) -> Polynomial:
    """The minimum: values that another never exceeds are left out; what remains undecided is a variable of its own.

    All variables are at least zero, so a difference without negative coefficients is never negative.
    """
    kept: list[Polynomial] = []
    for value in values:
        if any(_never_less(value, other) for other in kept):
            continue
        kept = [other for other in kept if not _never_less(other, value)] + [value]
    if len(kept) == 1:
        return kept[0]
    inside = sum(1 + _factors(monomial) for value in kept for monomial, _ in value)
    if inside > MOST_FACTORS:  # else minima of powers of minima grow without end
        raise TooLargeError
    return _made({(("min", frozenset(kept), inside),): 1})


def _factors(monomial: tuple[Any, ...]) -> int:
    """How many variables a monomial holds, with those within its minima."""
    return sum(1 if isinstance(variable, str) else 1 + int(variable[2]) for variable in monomial)


def _never_less(a: Polynomial, b: Polynomial) -> bool:
    return all(c >= 0 for _, c in _plus(a, b, -1))
