"""Weights that the weights file has as kernels read them, as expressions for the text of the lowered program."""

from __future__ import annotations

from graphwright.backends.lowered_text import Stored
from graphwright.backends.tvm.packing.floats import unpacked_floats
from graphwright.ir.dialects.cpu.packed_weights import unpacked
from graphwright.ir.ops import cast
from graphwright.ir.program import Program
from graphwright.ir.types import QuantizedType, TensorType
from graphwright.ir.weights import Applied, WeightExpression


def with_unpacked(program: Program, stored: Stored) -> Stored:
    """The stored weights, and those of the program that are stored packed, under other names.

    A matrix of codes gets, in the graphs too, the type of the codes that it is stored in, if that is another one.
    """
    found = dict(stored)

    def part(name: str) -> WeightExpression | None:
        return stored[name][1] if name in stored else None

    for value in (v for graph in program.graphs.values() for v in graph.weights):
        weight = value.weight
        assert weight is not None
        if weight.name in stored:
            continue
        if isinstance(weight.type, QuantizedType):
            codes, scales = part(f"{weight.name}.codes"), part(f"{weight.name}.scales")
            if codes is not None and scales is not None:
                matrix = unpacked(weight.type, codes, scales, part(f"{weight.name}.zero_points"))
                found[weight.name], value.type = (weight.expression, matrix), matrix.type
            continue
        assert isinstance(weight.type, TensorType), "weights are no states"
        if (panels := part(f"{weight.name}.packed")) is not None:
            found[weight.name] = weight.expression, unpacked_floats(panels, weight.type)
        elif (widened := part(f"{weight.name}.f32")) is not None:
            found[weight.name] = weight.expression, Applied.of(cast, (widened,), {"dtype": weight.type.dtype})
    return found
