"""Conditions on sizes under which a trace holds, as torch writes them down: which of them restrict nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any

Axes = Mapping[int, str]
"""The dynamic axes of an input and the symbols that stand for them: {0: "B", 1: "S"}."""

SIZE = re.compile(r"L\['(\w+)'\](?:\[(\d+)\])?\.size\(\)\[(\d+)\]")
_SIMPLE_GUARD = re.compile(
    rf"{SIZE.pattern} (<=|<|>=|>) \d+|\d+ (<=|<|>=|>) {SIZE.pattern}|{SIZE.pattern} == {SIZE.pattern}"
)
_POLYNOMIALS = re.compile(rf"(?:{SIZE.pattern}|[\d\s()+*-])+ != (?:{SIZE.pattern}|[\d\s()+*-])+")
"""Bounds, which `bounds` tells as well; axes that share a symbol; and polynomials that differ but for single sizes."""

_EQUATION = re.compile(r"(?:[\d*+() ,]|min\()+ == (?:[\d*+() ,]|min\()+")


def restricts_nothing(guard: str) -> bool:
    """Whether a condition is told by the bounds of single sizes, sets only single sizes apart, or always holds."""
    return any(known.fullmatch(guard) for known in (_SIMPLE_GUARD, _POLYNOMIALS)) or _always_holds(guard)


LONGEST_TRIED = 1 << 15
"""Up to this many tokens a condition on the length is tried one by one."""


def bound_on_sequence(guard: str, axes: Mapping[str, Axes]) -> int | None:
    """The longest sequence up to which a condition on nothing but the sequence holds; None if it is no such bound.

    It must hold for every length from one on and for none past the bound: that is tried, not read.
    """
    inputs = list(axes)
    places = [(inputs[int(i)] if i else name, int(axis)) for name, i, axis in SIZE.findall(guard)]
    if not places or any(axes[name].get(axis) != "S" for name, axis in places):
        return None
    try:
        code = compile(SIZE.sub("S", guard).replace("Max", "max").replace("Min", "min"), "guard", "eval")
        names: dict[str, Any] = {"__builtins__": {}, "max": max, "min": min}
        holds = [bool(eval(code, names, {"S": length})) for length in range(1, LONGEST_TRIED)]
    except Exception:  # an expression of another kind than sizes and numbers
        return None
    bound = next((i for i, held in enumerate(holds) if not held), len(holds))
    return bound if bound and not any(holds[bound:]) else None


def _always_holds(guard: str) -> bool:
    """Whether an equation of products and minima of sizes holds for all sizes from one on."""
    left, equal, right = guard.partition(" == ")
    if not equal or not _EQUATION.fullmatch(SIZE.sub("1", guard)):
        return False
    sympy: Any = import_module("sympy")
    more: dict[str, Any] = {}

    def one_and_more(size: re.Match[str]) -> str:
        name = f"more_{size[1]}_{size[2]}_{size[3]}"
        more[name] = sympy.Symbol(name, integer=True, nonnegative=True)
        return f"(1 + {name})"

    def least(*values: Any) -> Any:
        return sympy.Min(*map(sympy.expand, values))

    sides = [SIZE.sub(one_and_more, side) for side in (left, right)]
    a, b = (sympy.sympify(side, locals={**more, "min": least}) for side in sides)
    return sympy.expand(a - b) == 0


def plain(guard: str) -> str:
    """Torch's name for the size of an input in words."""
    return SIZE.sub(lambda found: f"axis {found[3]} of input {found[2] or found[1]}", guard)
