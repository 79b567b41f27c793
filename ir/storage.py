"""What weights take where they are stored: each once, and none for those that lie within another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    """The weights that are runs of rows of others, or equal to them: they need no room of their own."""
    wholes: dict[WeightExpression, Weight] = {}
    for weight in weights:
        wholes.setdefault(weight.expression, weight)
    within: dict[str, Within] = {}
    for weight in weights:
        whole, start = wholes[weight.expression], 0
        expression = weight.expression
        if isinstance(expression, Applied) and expression.definition is ops.slice and expression.operands[0] in wholes:
            attributes = dict(expression.attributes)
            first = attributes["start"]
            if (
                attributes["axis"] == 0
                and attributes["step"] == 1
                and isinstance(first, Dim)
                and (first.constant or 0) >= 0
            ):
                whole, start = wholes[expression.operands[0]], first.constant or 0
        if whole is not weight:
            rows = whole.type.shape[0].constant or 1
            within[weight.name] = Within(whole.name, start * (stored_bytes(whole) // rows))
    return within


def weights_of(graphs: Iterable[Graph]) -> list[Weight]:
    """The weights that graphs of one program read, each once."""
    used = {v.weight.name: v.weight for graph in graphs for v in graph.weights if v.weight is not None}
    return list(used.values())


def total_bytes(weights: Sequence[Weight]) -> int:
    """The bytes of all, as they are stored."""
    within = weights_within(weights)
    return sum(stored_bytes(weight) for weight in weights if weight.name not in within)
