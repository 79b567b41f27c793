"""Torch's conditions on the sizes of inputs, such as `L['ids'].size()[1] % 2 == 0`, read into trees of our own.

Torch writes them as Python, and so does who writes an archive; nothing of them is evaluated as Python here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from graphwright.frontend.expression_text import ExpressionError, expression_tree, integer, quoted

MOST_PARTS, DEEPEST, HIGHEST_POWER = 200, 24, 16


@dataclass(frozen=True)
class Size:
    """The size of an axis of an input, which is named, or is an element of a named argument."""

    input: str
    element: int | None
    axis: int


@dataclass(frozen=True)
class Other:
    """A fact of an input that is not a size of it: a stride, a number that was passed."""

    text: str


@dataclass(frozen=True)
class Operation:
    """`operator` is one of + - * // % ** min max, a comparison, and, or, not."""

    operator: str
    operands: tuple[Guard, ...]


Guard = int | Size | Other | Operation

COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})
_CONNECTIVES = frozenset({"and", "or", "not"})

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%",
}  # fmt: skip
_COMPARING: dict[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip
_CHOICES = {"min": "min", "max": "max", "Min": "min", "Max": "max"}
_KEY = re.compile(r"[\w.\-]{1,100}", re.ASCII)
_FACTS = frozenset({"size", "stride", "storage_offset"})


def parse_guard(text: object) -> Operation:
    """The condition that a text states. Raises `ExpressionError` for any other text, or one of too many parts."""
    tree = expression_tree(text)
    if sum(1 for _ in ast.walk(tree)) > 8 * MOST_PARTS:  # a size has eight nodes of its own
        raise ExpressionError(f"{quoted(text)} has more than {MOST_PARTS} parts")
    condition = _condition(tree, 1)
    if sum(1 for _ in parts(condition)) > MOST_PARTS:
        raise ExpressionError(f"{quoted(text)} has more than {MOST_PARTS} parts")
    return condition


def parts(guard: Guard) -> Iterator[Guard]:
    """The guard and all that it is made of."""
    yield guard
    if isinstance(guard, Operation):
        for operand in guard.operands:
            yield from parts(operand)


def _condition(tree: ast.expr, depth: int) -> Operation:
    _require_depth(depth)
    match tree:
        case ast.Compare(left=left, ops=[comparing], comparators=[right]) if type(comparing) in _COMPARING:
            return Operation(_COMPARING[type(comparing)], (_number(left, depth + 1), _number(right, depth + 1)))
        case ast.BoolOp(op=ast.And() | ast.Or() as joining, values=values):
            name = "and" if isinstance(joining, ast.And) else "or"
            return Operation(name, tuple(_condition(value, depth + 1) for value in values))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return Operation("not", (_condition(operand, depth + 1),))
        case _:
            raise ExpressionError(f"{_written(tree)} is not a condition on sizes")


def _number(tree: ast.expr, depth: int) -> Guard:
    _require_depth(depth)
    value = integer(tree)
    if value is not None:
        return value
    match tree:
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            power = integer(right)
            if power is None or not 1 <= power <= HIGHEST_POWER:
                raise ExpressionError(f"{_written(tree)}: powers go from 1 to {HIGHEST_POWER}")
            return Operation("**", (_number(left, depth + 1), power))
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _BINARY:
            return _flat(_BINARY[type(operator)], left, right, depth)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return Operation("-", (0, _number(operand, depth + 1)))
        case ast.Call(func=ast.Name(id=name), args=[_, _, *_] as operands, keywords=[]) if name in _CHOICES:
            return Operation(_CHOICES[name], tuple(_number(operand, depth + 1) for operand in operands))
        case _:
            return _fact(tree)


def _flat(operator: str, left: ast.expr, right: ast.expr, depth: int) -> Operation:
    """A sum or product of many is one operation, however deep Python's tree of it is."""
    operands = [right]
    kind = {name: node for node, name in _BINARY.items()}[operator]
    while operator in "+*" and isinstance(left, ast.BinOp) and isinstance(left.op, kind):
        operands.append(left.right)
        left = left.left
    return Operation(operator, tuple(_number(operand, depth + 1) for operand in [left, *reversed(operands)]))


def _fact(tree: ast.expr) -> Size | Other:
    """`L['x'].size()[1]`, `L['x'][0].size()[1]`, or another fact such as `L['x'].storage_offset()`."""
    axis: int | None = None
    place, fact = tree, ""
    match tree:
        case ast.Subscript(value=ast.Call(func=ast.Attribute(value=inner, attr=attr), args=[], keywords=[]), slice=at):
            axis = integer(at)
            if attr not in _FACTS or axis is None or not 0 <= axis < 64:
                raise ExpressionError(f"{_written(tree)} is not a size of an input")
            place, fact = inner, attr
        case ast.Call(func=ast.Attribute(value=inner, attr=attr), args=[], keywords=[]):
            if attr not in _FACTS:
                raise ExpressionError(f"{_written(tree)} is not a size of an input")
            place, fact = inner, attr
        case _:
            pass
    keys = _place(place)
    match keys:
        case [str() as name] if fact == "size" and axis is not None:
            return Size(name, None, axis)
        case [str() as name, int() as element] if fact == "size" and axis is not None:
            return Size(name, element, axis)
        case _:
            return Other(ast.unparse(tree))


def _place(tree: ast.expr) -> list[str | int]:
    """The keys of an input: `L['x'][0]` has 'x' and 0."""
    keys: list[str | int] = []
    while isinstance(tree, ast.Subscript) and len(keys) < 8:
        match tree.slice:
            case ast.Constant(value=str() as key) if _KEY.fullmatch(key):
                keys.append(key)
            case ast.Constant(value=int() as key) if 0 <= key < 1 << 16:
                keys.append(key)
            case _:
                break
        tree = tree.value
    if not isinstance(tree, ast.Name) or tree.id != "L" or not keys:
        raise ExpressionError(f"{_written(tree)} is not a size of an input")
    return keys[::-1]


def _require_depth(depth: int) -> None:
    if depth > DEEPEST:
        raise ExpressionError(f"a condition on sizes is nested more than {DEEPEST} deep")


def _written(tree: ast.expr) -> str:
    try:
        return quoted(ast.unparse(tree))
    except RecursionError:
        return "a deeply nested expression"
