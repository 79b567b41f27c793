"""Symbolic dimensions: integer polynomials over named symbols (`B`, `S`, `P+S`, `2*S-1`).

A `Dim` is hash-consed: two equal polynomials are one object, so shapes compare by identity. Symbols stand for positive
integers. There is no division: a shape that needs one is refused where it is captured.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, ClassVar

from graphwright.ir.errors import IRTypeError, UserError

Monomial = tuple[str, ...]

MOST_PRODUCTS = 1024
MOST_TERMS, HIGHEST_DEGREE, MOST_BITS, MOST_DIGITS = 64, 32, 256, 40
"""Sizes of models have a few terms of a low degree. Past these, a polynomial is refused: each step on the way to one of
thousands of terms, or of thousands of digits, takes longer than the last."""


class Dim:
    """An integer polynomial. Build one with `Dim.of`; combine with `+`, `-`, `*` and `exact_div`."""

    __slots__ = ("_hash", "constant", "terms")
    _interned: ClassVar[dict[tuple[tuple[Monomial, int], ...], Dim]] = {}

    terms: tuple[tuple[Monomial, int], ...]
    constant: int | None
    """The value if the polynomial is a number, else None."""

    @classmethod
    def _make(cls, terms: Mapping[Monomial, int]) -> Dim:
        key = tuple(sorted(((m, c) for m, c in terms.items() if c), key=lambda t: (-len(t[0]), t[0])))
        found = cls._interned.get(key)
        if found is None:
            _require_small(key)
            found = object.__new__(cls)
            found.terms = key
            found.constant = 0 if not key else key[0][1] if len(key) == 1 and not key[0][0] else None
            found._hash = hash(found.constant) if found.constant is not None else hash(key)
            cls._interned[key] = found
        return found

    @classmethod
    def of(cls, value: Dim | int | str) -> Dim:
        """The dimension of an integer, of a symbol's name, or of a printed polynomial such as `2*S+1`."""
        if isinstance(value, Dim):
            return value
        if isinstance(value, int):
            return _SMALL[value] if 0 <= value < len(_SMALL) else cls._make({(): int(value)})
        return parse_dim(value)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, int) and self.constant == other)

    def __add__(self, other: Dim | int) -> Dim:
        total = dict(self.terms)
        for monomial, coefficient in Dim.of(other).terms:
            total[monomial] = total.get(monomial, 0) + coefficient
        return Dim._make(total)

    def __sub__(self, other: Dim | int) -> Dim:
        return self + Dim.of(other) * -1

    def __mul__(self, other: Dim | int) -> Dim:
        other = Dim.of(other)
        if self.constant is not None and other.constant is not None:
            return Dim.of(self.constant * other.constant)
        if len(self.terms) * len(other.terms) > MOST_PRODUCTS:
            sizes = f"{len(self.terms)} by {len(other.terms)} terms"
            raise IRTypeError(f"a product of dimensions has {sizes}, at most {MOST_PRODUCTS} products are supported")
        return _product(self, other)

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other: int) -> Dim:
        return Dim.of(other) - self

    def exact_div(self, divisor: Dim | int) -> Dim | None:
        """The polynomial that times `divisor` gives this one, or None if there is none (`S*S+S` by 2 has none)."""
        divisor = Dim.of(divisor)
        if not divisor.terms:
            return None
        # Long division: terms are kept in graded order, so each step cancels the leading term of what remains.
        leading, coefficient = divisor.terms[0]
        quotient, rest = _SMALL[0], self
        while rest.terms:
            term, c = rest.terms[0]
            monomial = _without(term, leading)
            if monomial is None or c % coefficient:
                return None
            step = Dim._make({monomial: c // coefficient})
            quotient, rest = quotient + step, rest - step * divisor
        return quotient

    @property
    def symbols(self) -> frozenset[str]:
        return frozenset(symbol for monomial, _ in self.terms for symbol in monomial)

    def substitute(self, bindings: Mapping[str, Dim | int]) -> Dim:
        """The polynomial with the named symbols replaced; others stay."""
        if self.constant is not None or not any(s in bindings for m, _ in self.terms for s in m):
            return self
        if all(isinstance(bindings.get(s), int) for m, _ in self.terms for s in m):
            return Dim.of(self._value(bindings))
        total = Dim.of(0)
        for monomial, coefficient in self.terms:
            product = Dim.of(coefficient)
            for symbol in monomial:
                product = product * Dim.of(bindings.get(symbol, symbol))
            total = total + product
        return total

    def evaluate(self, bindings: Mapping[str, int]) -> int:
        """The integer value; an unbound symbol is an error."""
        if self.constant is not None:
            return self.constant
        missing = ", ".join(sorted(self.symbols - bindings.keys()))
        if missing:
            raise UserError(f"dimension {self} has no value: bind {missing}")
        return self._value(bindings)

    def _value(self, bindings: Mapping[str, Any]) -> int:
        """The value where each symbol has one: numbers, since polynomials of one term take ten times as long."""
        total = 0
        for monomial, coefficient in self.terms:
            for symbol in monomial:
                coefficient *= bindings[symbol]
            total += coefficient
        return total

    def __str__(self) -> str:
        if not self.terms:
            return "0"
        text = ""
        for monomial, coefficient in self.terms:
            factors = "*".join(monomial)
            size = abs(coefficient)
            body = factors if factors and size == 1 else f"{size}*{factors}" if factors else str(size)
            text += ("-" if coefficient < 0 else "+" if text else "") + body
        return text

    def __repr__(self) -> str:
        return f"Dim({self})"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return parse_dim, (str(self),)


@lru_cache(maxsize=4096)
def _product(left: Dim, right: Dim) -> Dim:
    """The layers of a model multiply the same sizes again and again."""
    total: dict[Monomial, int] = {}
    for m, a in left.terms:
        for n, b in right.terms:
            monomial = tuple(sorted(m + n))
            total[monomial] = total.get(monomial, 0) + a * b
    return Dim._make(total)


def _require_small(terms: tuple[tuple[Monomial, int], ...]) -> None:
    if len(terms) > MOST_TERMS:
        raise IRTypeError(f"a dimension has {len(terms)} terms, at most {MOST_TERMS} are supported")
    if any(c.bit_length() > MOST_BITS for _, c in terms):
        raise IRTypeError(f"a dimension has an integer of more than {MOST_BITS} bits")
    if terms and len(terms[0][0]) > HIGHEST_DEGREE:
        raise IRTypeError(f"a dimension multiplies {len(terms[0][0])} symbols, at most {HIGHEST_DEGREE} are supported")


def _without(monomial: Monomial, factors: Monomial) -> Monomial | None:
    """The monomial divided by factors that it contains, else None."""
    rest = list(monomial)
    for symbol in factors:
        if symbol not in rest:
            return None
        rest.remove(symbol)
    return tuple(rest)


_TERM = re.compile(r"\s*([+-]?)\s*((?:\d+|[A-Za-z_]\w*)(?:\s*\*\s*(?:\d+|[A-Za-z_]\w*))*)")


def parse_integer(digits: str) -> int:
    """The integer of a text. Raises `IRTypeError` past `MOST_DIGITS`, without reading them."""
    if len(digits) > MOST_DIGITS:
        raise IRTypeError(f"integer {digits[:20]}… has {len(digits)} digits, at most {MOST_DIGITS} are supported")
    return int(digits)


@lru_cache(maxsize=4096)
def parse_dim(text: str) -> Dim:
    """The dimension that `str` printed. Raises `UserError` on anything else."""
    total, position = Dim.of(0), 0
    stripped = text.rstrip()
    while position < len(stripped) or position == 0:
        match = _TERM.match(stripped, position)
        if match is None or (position and not match[1]):
            raise UserError(f"'{text}' is not a dimension: write integers and symbols joined by + - *")
        product = Dim.of(-1 if match[1] == "-" else 1)
        for factor in match[2].split("*"):
            factor = factor.strip()
            product = product * (parse_integer(factor) if factor[0].isdecimal() else Dim._make({(factor,): 1}))
        total, position = total + product, match.end()
    return total


def product(dims: Iterable[Dim]) -> Dim:
    """The number of elements of a shape; 1 for a scalar."""
    total = Dim.of(1)
    for dim in dims:
        total = total * dim
    return total


_SMALL: list[Dim] = []
_SMALL.extend(Dim._make({(): n}) for n in range(1024))
