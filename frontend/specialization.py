"""What a trace has settled about the sizes of its inputs: names for those that stayed free, refusal of the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch.export import ExportedProgram

from graphwright.frontend.dimensions import Dimensions
from graphwright.frontend.traced_graph import bounds, expression, guards, traced_value
from graphwright.ir import UnsupportedError

Axes = Mapping[int, str]
"""The dynamic axes of an input and the symbols that stand for them: {0: "B", 1: "S"}."""

MAIN_INPUT = "input_ids"
"""The input whose length must stay free. Elsewhere a length that the module's code fixes is a number in the type."""

_LENGTH = {"B": "batch", "S": "sequence"}
_SIZE = re.compile(r"L\['inputs'\]\[(\d+)\]\.size\(\)\[(\d+)\]")
_SIMPLE_GUARD = re.compile(
    rf"{_SIZE.pattern} (<=|<|>=|>) \d+|\d+ (<=|<|>=|>) {_SIZE.pattern}|{_SIZE.pattern} == {_SIZE.pattern}"
)
_POLYNOMIALS = re.compile(rf"(?:{_SIZE.pattern}|[\d\s()+*-])+ != (?:{_SIZE.pattern}|[\d\s()+*-])+")
"""Bounds, which `bounds` tells as well; axes that share a symbol; and polynomials that differ but for single sizes."""


def must_stay_free(input: str, symbol: str) -> bool:
    """Whether it is an error if the module's code fixes this axis: the batch, and the length of the main input."""
    return symbol == "B" or input == MAIN_INPUT


def free_sizes(exported: ExportedProgram, axes: Mapping[str, Axes]) -> tuple[Dimensions, int | None]:
    """The sizes of the inputs in the IR's symbols, and the longest sequence for which the trace holds, if any.

    `axes` are those of each input, by its name, in order. Raises `UnsupportedError` if the code of the module fixed an
    axis that must stay free or branched on its length. torch counts lengths from two on as alike, and so do we: a trace
    holds for one as well, since a model has no other formula there.
    """
    fakes = {node.name: traced_value(node) for node in exported.graph.nodes if node.op == "placeholder"}
    names: dict[str, str] = {}
    longest: int | None = None
    for name, (label, dynamic) in zip(exported.graph_signature.user_inputs, axes.items(), strict=True):
        for axis, symbol in dynamic.items():
            size: int | torch.SymInt = fakes[str(name)].shape[axis]
            free = None if isinstance(size, int) else expression(size)
            if free is None or not free.is_Symbol:
                if not must_stay_free(label, symbol) and (free is None or free.is_Integer):
                    continue
                raise UnsupportedError(f"the module's code fixes the {_length(symbol)} to {free or size}")
            if (known := names.setdefault(free.name, symbol)) != symbol:
                pair = " and ".join(_LENGTH.get(s, s) for s in sorted((known, symbol)))
                raise UnsupportedError(f"the module's code makes {pair} the same length")
            least, most = bounds(exported, free)
            if least > 2:
                raise UnsupportedError(
                    f"the module's code branches on the {_length(symbol)}; as traced it takes {least} or more"
                )
            if most is not None and symbol == "B":
                raise UnsupportedError(f"the module's code takes a batch of {most} at most")
            longest = most if symbol == "S" and most is not None else longest
    for guard in guards(exported):
        if not _SIMPLE_GUARD.fullmatch(guard) and not _POLYNOMIALS.fullmatch(guard):
            most = _bound_on_sequence(guard, axes)
            if most is not None:
                longest = most if longest is None else min(longest, most)
                continue
            raise UnsupportedError(f"the module's code branches on a size: the trace holds only where {plain(guard)}")
    return Dimensions(names), longest


LONGEST_TRIED = 1 << 15
"""Up to this many tokens a condition on the length is tried one by one."""


def _bound_on_sequence(guard: str, axes: Mapping[str, Axes]) -> int | None:
    """The longest sequence up to which a condition on nothing but the sequence holds; None if it is no such bound.

    It must hold for every length from one on and for none past the bound: that is tried, not read.
    """
    places = {(int(i), int(axis)) for i, axis in _SIZE.findall(guard)}
    each = list(axes.values())
    if not places or any(each[i].get(axis) != "S" for i, axis in places):
        return None
    try:
        code = compile(_SIZE.sub("S", guard).replace("Max", "max").replace("Min", "min"), "guard", "eval")
        names = {"__builtins__": {}, "max": max, "min": min}
        holds = [bool(eval(code, names, {"S": length})) for length in range(1, LONGEST_TRIED)]
    except Exception:  # an expression of another kind than sizes and numbers
        return None
    bound = next((i for i, held in enumerate(holds) if not held), len(holds))
    return bound if bound and not any(holds[bound:]) else None


def _length(symbol: str) -> str:
    return f"{_LENGTH[symbol]} length" if symbol in _LENGTH else f"length {symbol}"


def plain(guard: str) -> str:
    """Torch's name for the size of an input in words."""
    return _SIZE.sub(r"axis \2 of input \1", guard)
