"""What weights take where they are stored: each once, and none for those that lie within another."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from graphwright.ir import ops
from graphwright.ir.dims import Dim
from graphwright.ir.graph import Graph
from graphwright.ir.weights import Applied, Weight, WeightExpression


@dataclass(frozen=True)
class Within:
    """Where a weight's bytes lie within those of another, whose name is `whole`."""

    whole: str
    offset: int


def stored_bytes(weight: Weight) -> int:
    """The bytes of a weight by itself."""
    return -(-weight.type.bits.evaluate({}) // 8)


def weights_within(weights: Sequence[Weight]) -> dict[str, Within]:
    """The weights that are runs of rows of others, others in another shape, or equal to others: they need no room."""
    wholes: dict[WeightExpression, Weight] = {}
    for weight in weights:
        wholes.setdefault(weight.expression, weight)
    within: dict[str, Within] = {}
    for weight in weights:
        whole, row = _enclosing(weight.expression, wholes)
        offset = 0
        while whole is not weight:
            offset += row * (stored_bytes(whole) // (whole.type.shape[0].constant or 1))
            within[weight.name] = Within(whole.name, offset)
            outer, row = _enclosing(whole.expression, wholes)
            if outer is whole:
                break
            whole = outer
    return within


def _enclosing(expression: WeightExpression, wholes: Mapping[WeightExpression, Weight]) -> tuple[Weight, int]:
    """The weight that one of this expression lies in, and from which row on: the first of it, if in no other."""
    outer = expression.operands[0] if isinstance(expression, Applied) and expression.operands else None
    if isinstance(expression, Applied) and outer is not None and outer in wholes:
        if expression.definition is ops.reshape:
            return wholes[outer], 0
        if expression.definition is ops.slice:
            first = expression.attribute("start", Dim).constant or 0
            whole = expression.attribute("axis", int) == 0 and expression.attribute("step", int) == 1
            if whole and first >= 0:
                return wholes[outer], first
    return wholes[expression], 0


def weights_of(graphs: Iterable[Graph]) -> list[Weight]:
    """The weights that graphs of one program read, each once."""
    used = {v.weight.name: v.weight for graph in graphs for v in graph.weights if v.weight is not None}
    return list(used.values())


def total_bytes(weights: Sequence[Weight]) -> int:
    """The bytes of all, as they are stored."""
    within = weights_within(weights)
    return sum(stored_bytes(weight) for weight in weights if weight.name not in within)
