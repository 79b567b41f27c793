"""Which weights a program multiplies by, and putting others in their place in all its graphs."""

from __future__ import annotations

from typing import Literal

from graphwright.ir import Op, Program, Value, Weight, ops
from graphwright.ir.traits import Trait
from graphwright.ir.weights import WeightExpression

Layers = Literal["all", "body", "head"]
"""Which linear layers a pass treats: the output head is often left alone, or gets more bits."""


def linear_weights(program: Program) -> dict[str, list[Op]]:
    """Of each weight that linear layers multiply by the layers that do, in every graph; in the order of the graphs."""
    found: dict[str, list[Op]] = {}
    for graph in program.graphs.values():
        for op in graph:
            if op.definition is ops.linear and (weight := op.required("weight").weight) is not None:
                found.setdefault(weight.name, []).append(op)
    return found


def covers(layers: Layers, readers: list[Op]) -> bool:
    """Whether ops over one weight are meant: those of the output head, those of the body, or all."""
    return layers == "all" or any(map(is_head, readers)) == (layers == "head")


def is_head(op: Op) -> bool:
    """Whether a linear layer is the output head: nothing but elementwise ops stand between it and the logits."""
    pending, seen = [op.result], set[Value]()
    while pending:
        value = pending.pop()
        if value in seen:
            continue
        seen.add(value)
        for user in value.users:
            if not (user.definition.has(Trait.ELEMENTWISE) or user.definition is ops.expand):
                return False
            pending.extend(user.results)
    return True


def replace_linear_weight(program: Program, weight: Weight, name: str, expression: WeightExpression) -> Weight:
    """Every linear layer over `weight`, in all graphs, reads a new weight of that name; others still read the old."""
    new = program.add_weight(name, expression)
    index = ops.linear.operand_index("weight")
    for graph in program.graphs.values():
        for op in graph:
            if op.definition is ops.linear and op.required("weight").weight is weight:
                graph.set_operand(op, index, graph.weight(new))
    return new
