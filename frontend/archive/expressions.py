"""torch's sizes as an archive writes them, such as `Mul(Integer(4), Symbol('s27', positive=True, integer=True))`.

Torch gives these texts to sympy, which evaluates them as Python. They are held here to calls of a few constructors with
constants, and to a size at which sympy's arithmetic takes no time to speak of.
"""

import ast
import re
from dataclasses import dataclass
from math import prod

from graphwright.frontend.expression_text import ExpressionError, expression_tree, integer, quoted

SYMBOL = re.compile(r"(?:s|u|zf|zuf|ps)\d{1,6}", re.ASCII)
"""The names that torch gives to sizes (`s27`), and to numbers that data decide (`u0`)."""

_ASSUMPTIONS = frozenset({"integer", "positive", "nonnegative", "nonzero", "negative", "real", "finite", "commutative"})

_SUMS = frozenset({"Add"})
_PRODUCTS = frozenset({"Mul"})
_CHOICES = frozenset({"Min", "Max"})
_DIVISIONS = {
    "FloorDiv": 2, "CleanDiv": 2, "CeilDiv": 2, "IntTrueDiv": 2, "FloatTrueDiv": 2,
    "Mod": 2, "PythonMod": 2, "ModularIndexing": 3,
}  # fmt: skip
_CONVERSIONS = frozenset({"ToFloat", "FloorToInt", "CeilToInt", "TruncToInt", "RoundToInt", "TruncToFloat", "Identity"})
_RELATIONS = frozenset({
    "Equality", "Unequality", "LessThan", "StrictLessThan", "GreaterThan", "StrictGreaterThan",
    "Eq", "Ne", "Le", "Lt", "Ge", "Gt",
})  # fmt: skip
_CONNECTIVES = {"And": 8, "Or": 8, "Not": 1}
_FLOAT = re.compile(r"-?(\d{1,40})(?:\.(\d{0,40}))?(?:e[+-]?(\d{1,3}))?", re.ASCII)

MOST_NODES, DEEPEST, HIGHEST_DEGREE, MOST_TERMS, MOST_OPERANDS, MOST_DIVISIONS = 200, 24, 16, 100, 8, 16
MOST_BITS = 2048
"""Of a number in an expression, and of a denominator. The largest of a float has 1024, sixteen integers 1008."""


@dataclass(frozen=True)
class Extent:
    """What sympy has to work on: nodes and depth of an expression; degree and terms of it multiplied out.

    `divisions` counts what is not made by + and *: divisions, remainders, minima, maxima, relations. `bits` bounds the
    numbers in it once it is multiplied out and over one denominator.
    """

    nodes: int = 1
    depth: int = 1
    degree: int = 0
    terms: int = 1
    divisions: int = 0
    bits: int = 1


def extent_of(text: object) -> Extent:
    """The extent of an expression. Raises `ExpressionError` for text that is not of the language or past a limit."""
    return _extent(expression_tree(text), 1)


def _extent(tree: ast.expr, level: int) -> Extent:
    if level > DEEPEST:
        raise ExpressionError(f"a size is nested more than {DEEPEST} deep")
    if isinstance(tree, ast.Name) and tree.id in ("true", "false"):
        return Extent()
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        raise ExpressionError(f"{_source(tree)} is not a size as torch writes them")
    name = tree.func.id
    if name in ("Symbol", "Integer", "Rational", "Float"):
        return _atom(name, tree)
    if tree.keywords:
        raise ExpressionError(f"{name} has no options")
    if name == "Pow":
        found = _power(tree, level)
    else:
        found = _call(name, [_extent(operand, level + 1) for operand in tree.args[: MOST_TERMS + 1]])
    for value, most, what in (
        (found.nodes, MOST_NODES, "parts"),
        (found.degree, HIGHEST_DEGREE, "as its degree"),
        (found.terms, MOST_TERMS, "terms"),
        (found.divisions, MOST_DIVISIONS, "divisions and choices"),
        (found.bits, MOST_BITS, "bits in a number"),
    ):
        if value > most:
            raise ExpressionError(f"a size has {value} {what}, {most} at most are read")
    return found


def _call(name: str, operands: list[Extent]) -> Extent:
    count = len(operands)
    nodes = 1 + sum(o.nodes for o in operands)
    depth = 1 + max((o.depth for o in operands), default=0)
    highest = max((o.degree for o in operands), default=0)
    divisions = sum(o.divisions for o in operands)
    bits = sum(o.bits for o in operands) + (count if name not in _PRODUCTS else 0)
    if name in _SUMS and count:
        return Extent(nodes, depth, highest, sum(o.terms for o in operands), divisions, bits)
    if name in _PRODUCTS and count:
        degree, terms = sum(o.degree for o in operands), prod(o.terms for o in operands)
        return Extent(nodes, depth, degree, terms, divisions, bits)
    fits = (
        (name in _CHOICES and 0 < count <= MOST_OPERANDS)
        or count == _DIVISIONS.get(name)
        or (name in _CONVERSIONS and count == 1)
        or (name in _RELATIONS and count == 2)
        or 0 < count <= _CONNECTIVES.get(name, 0)
    )
    if not fits:
        raise ExpressionError(f"{quoted(name)} with {count} operands is not a size as torch writes them")
    # To compare or divide two of them, sympy multiplies out their difference or quotient.
    return Extent(nodes, depth, highest, sum(o.terms for o in operands), divisions + 1, bits)


def _power(tree: ast.Call, level: int) -> Extent:
    exponent = tree.args[1] if len(tree.args) == 2 else None
    value = _integer_call(exponent) if isinstance(exponent, ast.Call) else None
    if value is None or not 1 <= abs(value) <= HIGHEST_DEGREE:
        raise ExpressionError(f"Pow takes a base and an Integer of 1 to {HIGHEST_DEGREE}, not {_source(tree)}")
    base, times = _extent(tree.args[0], level + 1), abs(value)
    degree, bits = base.degree * times, base.bits * times
    return Extent(base.nodes + 2, base.depth + 1, degree, base.terms**times, base.divisions, bits)


def _atom(name: str, tree: ast.Call) -> Extent:
    if name == "Symbol":
        match tree.args:
            case [ast.Constant(value=str() as symbol)] if SYMBOL.fullmatch(symbol) and _known_assumptions(tree):
                return Extent(degree=1)
            case _:
                pass
    elif name == "Integer":
        value = _integer_call(tree)
        if value is not None:
            return Extent(bits=max(1, value.bit_length()))
    elif name == "Rational":
        values = [integer(each) for each in tree.args]
        match values:
            case [int() as numerator, int() as denominator] if denominator and not tree.keywords:
                return Extent(bits=max(1, numerator.bit_length(), denominator.bit_length()))
            case _:
                pass
    else:
        match tree.args, tree.keywords:
            case [ast.Constant(value=str() as digits)], [ast.keyword(arg="precision", value=ast.Constant(value=53))]:
                if found := _FLOAT.fullmatch(digits):
                    whole, fraction, exponent = (part or "" for part in found.groups())
                    return Extent(bits=4 * (len(whole) + len(fraction) + int(exponent or 0)))
            case _:
                pass
    raise ExpressionError(f"{_source(tree)} is no {name} as torch writes them")


def _integer_call(tree: ast.Call) -> int | None:
    named = isinstance(tree.func, ast.Name) and tree.func.id == "Integer"
    return integer(tree.args[0]) if named and len(tree.args) == 1 and not tree.keywords else None


def _known_assumptions(tree: ast.Call) -> bool:
    return all(
        each.arg in _ASSUMPTIONS and isinstance(each.value, ast.Constant) and isinstance(each.value.value, bool)
        for each in tree.keywords
    )


def _source(tree: ast.expr) -> str:
    """A part of an expression as it was written, for a message."""
    try:
        return quoted(ast.unparse(tree))
    except RecursionError:
        return "a deeply nested expression"
