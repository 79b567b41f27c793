"""Common subexpression elimination: two equal ops on equal operands are one."""

from __future__ import annotations

from graphwright.ir import Graph, Op, Value
from graphwright.ir.attributes import attribute_text
from graphwright.ir.types import StateType


def eliminate_common_subexpressions(graph: Graph) -> int:
    """Merges equal ops; the first one stays. Returns how many were removed."""
    first: dict[object, Op] = {}
    numbers: dict[Value, int] = {}
    removed = 0
    for op in graph:
        if any(isinstance(v.type, StateType) for v in op.results):
            continue
        operands = tuple(-1 if v is None else numbers.setdefault(v, len(numbers)) for v in op.operands)
        if op.definition.commutative:
            operands = tuple(sorted(operands))
        key = (op.definition, operands, tuple(attribute_text(a) for a in op.attributes.values()))
        earlier = first.setdefault(key, op)
        if earlier is not op:
            for old, new in zip(op.results, earlier.results, strict=True):
                graph.replace(old, new)
            graph.erase(op)
            removed += 1
    return removed
