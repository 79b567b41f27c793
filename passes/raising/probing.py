"""What a captured subgraph means, found by evaluating it instead of recognizing its spelling."""

from collections.abc import Callable, Iterable

from graphwright.ir import Graph, Interpreter, Op, Value, ops
from graphwright.ir.attributes import Attribute, attribute_text, dimensions
from graphwright.ir.convention import BATCH, SEQUENCE
from graphwright.ir.dims import Dim
from graphwright.ir.interpreter import cone
from graphwright.ir.traits import Trait

HIDDEN = -1e4
"""A masked score at or below this weighs exp(-1e4), which is 0 in every float type."""


def positional_values(graph: Graph, inputs: Iterable[Value] | None = None) -> Callable[[Value], bool]:
    """A test for values that depend on shapes, constants and weights only, not on the inputs' elements (on any's)."""
    data = set(graph.inputs if inputs is None else inputs)
    for op in graph:
        if any(v in data for v in op.inputs):
            data.update(op.results)
    return lambda value: value not in data


def has_symbol(value: Value, symbol: str) -> bool:
    """Whether an axis of the value has a length that contains the symbol."""
    return any(symbol in dim.symbols for dim in value.type.shape)


def is_set_by_length(op: Op) -> bool:
    """Whether an op takes the sequence's length for a number: a cache would put the number of new tokens there."""
    lengths = (d for a in op.attributes.values() for d in dimensions(a))
    return not op.definition.has(Trait.SHAPED) and any(SEQUENCE in d.symbols for d in lengths)


def integers(op: Op) -> list[int]:
    """The integers in an op's attributes: what a length must exceed for the op to show its behaviour."""
    found: list[int] = []

    def visit(attribute: Attribute) -> None:
        if isinstance(attribute, tuple):
            for item in attribute:
                visit(item)
        elif isinstance(attribute, Dim):
            found.extend(abs(c) for _, c in attribute.terms)
        elif isinstance(attribute, float) and attribute <= HIDDEN:
            pass  # says that a score is hidden, not where
        elif isinstance(attribute, (int, float)) and not isinstance(attribute, bool) and abs(attribute) < 1 << 31:
            found.append(int(abs(attribute)))

    for attribute in op.attributes.values():
        visit(attribute)
    return found


def tables(path: list[Op]) -> list[int]:
    """Lengths of the tables that a path cuts to the sequence or looks positions up in: no sequence is longer."""
    lengths: list[int] = []
    for op in path:
        axis = 0 if op.definition is ops.embedding else op.attributes.get("axis")
        if op.definition not in (ops.slice, ops.gather, ops.embedding) or not isinstance(axis, int):
            continue
        length = op.inputs[0].type.shape[axis].constant
        cut = op.definition is ops.slice and SEQUENCE in op.result.type.shape[axis].symbols
        looked_up = op.definition is not ops.slice and has_symbol(op.inputs[1], SEQUENCE)
        if length is not None and (cut or looked_up):
            lengths.append(length)
    return lengths


LONGEST_TRIED = 1 << 10
"""Up to this many tokens it is tried whether a condition on positions keeps a key for each query."""


def leaves_a_key(kept: Value) -> bool:
    """Whether a condition [..., queries, keys] on positions alone is true for a key of every query: that is tried."""
    path = cone([kept])
    read = [kept, *(value for op in path for value in op.inputs)]
    if any(value.owner is None and value.weight is None for value in read) or kept.type.rank < 2:
        return False
    length = min([max((n for op in path for n in integers(op)), default=0) + 13, LONGEST_TRIED, *tables(path)])
    symbols = {s for op in path for v in (*op.inputs, *op.results) for d in v.type.shape for s in d.symbols}
    value = Interpreter("float64").run_cone({}, [kept], dict.fromkeys(symbols, length) | {BATCH: 2})[0]
    return bool(value.any(-1).all())


def structure(wanted: Value, leaves: tuple[Value, ...], shared: Callable[[Value], bool]) -> tuple[object, ...]:
    """A key that two subgraphs share if they compute the same from their leaves: a probe of one answers for the other.

    Values for which `shared` holds are told apart by identity, everything else by how it is computed.
    """
    known: dict[Value, object] = {leaf: ("leaf", i, str(leaf.type)) for i, leaf in enumerate(leaves)}
    key: list[object] = []
    for op in cone([wanted], _Stop(known, shared)):
        operands = tuple(None if v is None else known[v] if v in known else ("value", id(v)) for v in op.operands)
        attributes = tuple(attribute_text(a) for a in op.attributes.values())
        for result in op.results:
            known[result] = (len(key), result.index)
        key.append((op.name, operands, attributes))
    return (*key, known.get(wanted, id(wanted)))


class _Stop:
    """The values behind which a structure is not looked."""

    def __init__(self, known: dict[Value, object], shared: Callable[[Value], bool]) -> None:
        self.known = known
        self.shared = shared

    def __contains__(self, value: object) -> bool:
        return value in self.known or (isinstance(value, Value) and self.shared(value))
