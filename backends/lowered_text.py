"""The text of a lowered program as an artifact holds it: its weights lie in the artifact's own file."""

from collections.abc import Iterable, Mapping

from graphwright.backends.kernel_library import OperandLayout
from graphwright.backends.weights_file import PACKED
from graphwright.ir import print_program
from graphwright.ir.ops import reshape, unpack_bits
from graphwright.ir.program import Program
from graphwright.ir.storage import stored_bytes
from graphwright.ir.types import DType, TensorType, tensor
from graphwright.ir.weights import Applied, StoredArray, StoredFile, Weight, WeightExpression

Stored = Mapping[str, tuple[WeightExpression, WeightExpression]]
"""Of a weight, by name, what it is and how it is read from the artifact."""


def stored_weights(weights: Iterable[Weight], file: str) -> Stored:
    """Weights that the artifact's `file` holds under their names."""
    return {weight.name: (weight.expression, _stored(weight, file)) for weight in weights}


def with_unpacked(program: Program, stored: Stored, layouts: Iterable[OperandLayout]) -> Stored:
    """The stored weights, and those of the program that are stored in one of the layouts, under other names.

    A matrix of codes gets, in the graphs too, the type of the codes that it is stored in, if that is another one.
    """
    found = dict(stored)
    for value in (v for graph in program.graphs.values() for v in graph.weights):
        weight = value.weight
        assert weight is not None
        if weight.name in stored:
            continue
        for layout in layouts:
            names = {part: f"{weight.name}.{part}" for part in layout.parts}
            arrays = {part: stored[name][1] for part, name in names.items() if name in stored}
            if layout.parts[0] in arrays:
                plain = layout.unpack(weight.type, arrays)
                found[weight.name], value.type = (weight.expression, plain), plain.type
                break
    return found


def lowered_text(program: Program, stored: Stored) -> str:
    """The program as text: weights as they are `stored`, or of those that are, and the rest spelt out."""
    shown = Program(program.name)
    shown.metadata = dict(program.metadata)
    places = dict(stored.values())
    for value in (v for graph in program.graphs.values() for v in graph.weights):
        weight = value.weight
        assert weight is not None
        if weight.name not in shown.weights:
            known = stored.get(weight.name)
            shown.weights[weight.name] = Weight(weight.name, _shown(weight, places) if known is None else known[1])
    shown.graphs = dict(program.graphs)
    return print_program(shown)


def _shown(weight: Weight, places: Mapping[WeightExpression, WeightExpression]) -> WeightExpression:
    """The expression of a weight that the file does not have by its name."""
    expression = weight.expression
    if expression in places:
        return places[expression]
    if isinstance(expression, Applied) and all(e in places for e in expression.operands if e is not None):
        operands = tuple(None if e is None else places[e] for e in expression.operands)
        if operands:
            return Applied(expression.definition, operands, expression.attributes, expression.type)
    assert isinstance(weight.type, TensorType), f"'{weight.name}' is {weight.type}, which the file holds"
    return StoredArray(weight.evaluate(), weight.type)


def _stored(weight: Weight, file: str) -> WeightExpression:
    assert isinstance(weight.type, TensorType)
    if weight.type.dtype not in PACKED:
        return StoredFile(file, weight.name, weight.type)
    count = weight.type.elements.evaluate({})
    packed = StoredFile(file, weight.name, tensor(DType.U8, stored_bytes(weight)))
    codes = Applied.of(unpack_bits, (packed,), {"to": weight.type.dtype, "length": count})
    return Applied.of(reshape, (codes,), {"shape": weight.type.shape})
