"""Weights that the weights file has as kernels read them, as expressions for the text of the lowered program."""

from __future__ import annotations

from graphwright.backends.lowered_text import Stored
from graphwright.backends.tvm.library.layouts import LAYOUTS
from graphwright.ir.program import Program


def with_unpacked(program: Program, stored: Stored) -> Stored:
    """The stored weights, and those of the program that are stored in a layout, under other names.

    A matrix of codes gets, in the graphs too, the type of the codes that it is stored in, if that is another one.
    """
    found = dict(stored)
    for value in (v for graph in program.graphs.values() for v in graph.weights):
        weight = value.weight
        assert weight is not None
        if weight.name in stored:
            continue
        for layout in LAYOUTS:
            names = {part: f"{weight.name}.{part}" for part in layout.parts}
            arrays = {part: stored[name][1] for part, name in names.items() if name in stored}
            if layout.parts[0] in arrays:
                plain = layout.unpack(weight.type, arrays)
                found[weight.name], value.type = (weight.expression, plain), plain.type
                break
    return found
