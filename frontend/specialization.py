"""What a trace has settled about the sizes of its inputs: names for those that stayed free, refusal of the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import torch
from torch.export import ExportedProgram

from graphwright.frontend.dimensions import Dimensions
from graphwright.frontend.traced_graph import bounds, expression, guards, traced_value
from graphwright.ir import UnsupportedError

Axes = Mapping[int, str]
"""The dynamic axes of an input and the symbols that stand for them: {0: "B", 1: "S"}."""

_LENGTH = {"B": "batch", "S": "sequence"}
_SIZE = re.compile(r"L\['inputs'\]\[(\d+)\]\.size\(\)\[(\d+)\]")
_SIMPLE_GUARD = re.compile(
    rf"{_SIZE.pattern} (<=|<|>=|>) \d+|\d+ (<=|<|>=|>) {_SIZE.pattern}|.* != .*|{_SIZE.pattern} == {_SIZE.pattern}"
)
"""Bounds, which `bounds` tells as well; inequalities, which only set single sizes apart; axes that share a symbol."""

_EQUATION = re.compile(r"(?:[\d*+() ,]|min\()+ == (?:[\d*+() ,]|min\()+")


def free_sizes(exported: ExportedProgram, axes: Sequence[Axes]) -> tuple[Dimensions, int | None]:
    """The sizes of the inputs in the IR's symbols, and the longest sequence for which the trace holds, if any.

    Raises `UnsupportedError` if the code of the module fixed a dynamic axis or branched on its length. torch counts
    lengths from two on as alike, and so do we: a trace holds for one as well, since a model has no other formula there.
    """
    fakes = {node.name: traced_value(node) for node in exported.graph.nodes if node.op == "placeholder"}
    names: dict[str, str] = {}
    longest: int | None = None
    for name, dynamic in zip(exported.graph_signature.user_inputs, axes, strict=True):
        for axis, symbol in dynamic.items():
            size: int | torch.SymInt = fakes[str(name)].shape[axis]
            free = None if isinstance(size, int) else expression(size)
            if free is None or not free.is_Symbol:
                raise UnsupportedError(f"the module's code fixes the {_LENGTH[symbol]} length to {free or size}")
            if names.setdefault(free.name, symbol) != symbol:
                raise UnsupportedError("the module's code makes batch and sequence the same length")
            least, most = bounds(exported, free)
            if least > 2:
                raise UnsupportedError(
                    f"the module's code branches on the {_LENGTH[symbol]} length; as traced it takes {least} or more"
                )
            if most is not None and symbol == "B":
                raise UnsupportedError(f"the module's code takes a batch of {most} at most")
            longest = most if symbol == "S" and most is not None else longest
    for guard in guards(exported):
        if not _SIMPLE_GUARD.fullmatch(guard) and not _always_holds(guard):
            raise UnsupportedError(f"the module's code branches on a size: the trace holds only where {plain(guard)}")
    return Dimensions(names), longest


def _always_holds(guard: str) -> bool:
    """Whether an equation of products and minima of sizes holds for all sizes from one on."""
    left, equal, right = guard.partition(" == ")
    if not equal or not _EQUATION.fullmatch(_SIZE.sub("1", guard)):
        return False
    sympy: Any = import_module("sympy")
    more: dict[str, Any] = {}

    def one_and_more(size: re.Match[str]) -> str:
        name = f"more_{size[1]}_{size[2]}"
        more[name] = sympy.Symbol(name, integer=True, nonnegative=True)
        return f"(1 + {name})"

    def least(*values: Any) -> Any:
        return sympy.Min(*map(sympy.expand, values))

    sides = [_SIZE.sub(one_and_more, side) for side in (left, right)]
    a, b = (sympy.sympify(side, locals={**more, "min": least}) for side in sides)
    return sympy.expand(a - b) == 0


def plain(guard: str) -> str:
    """Torch's name for the size of an input in words."""
    return _SIZE.sub(r"axis \2 of input \1", guard)
