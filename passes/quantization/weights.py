"""Which weights a program multiplies by, and putting others in their place in all its graphs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from graphwright.ir import Op, PassError, Program, Value, Weight, ops
from graphwright.ir.declare import OpDef
from graphwright.ir.lazy import torch
from graphwright.ir.traits import Trait
from graphwright.ir.weights import Applied, WeightExpression

if TYPE_CHECKING:
    from torch import Tensor


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
    return _replaced(program, weight, name, expression, ops.linear, ("weight",))


STACKS = ("gate_up", "down")
"""The operands of `moe_experts` that are multiplied by."""


def expert_weights(program: Program) -> dict[str, list[Op]]:
    """Of each stack of experts' weights the ops that multiply by it, in every graph; in the order of the graphs."""
    found: dict[str, list[Op]] = {}
    for graph in program.graphs.values():
        for op in graph:
            if op.definition is ops.moe_experts:
                for name in STACKS:
                    if (weight := op.required(name).weight) is not None:
                        found.setdefault(weight.name, []).append(op)
    return found


def replace_expert_weight(program: Program, weight: Weight, name: str, expression: WeightExpression) -> Weight:
    """All experts over `weight`, in all graphs, read a new weight of that name; others still read the old."""
    return _replaced(program, weight, name, expression, ops.moe_experts, STACKS)


def _replaced(
    program: Program,
    weight: Weight,
    name: str,
    expression: WeightExpression,
    definition: OpDef,
    operands: tuple[str, ...],
) -> Weight:
    """The new weight, which ops of one kind read at these operands in place of the old one."""
    new = program.add_weight(name, expression)
    for graph in program.graphs.values():
        for op in graph:
            if op.definition is not definition:
                continue
            for operand in operands:
                if op.required(operand).weight is weight:
                    graph.set_operand(op, definition.operand_index(operand), graph.weight(new))
    return new


AT_ONCE = 1 << 20
"""Elements looked at together, so that they stay in the processor's cache."""


def require_finite(weight: Weight, layers: list[Op]) -> None:
    """Raises `PassError`, naming the weight and the module that reads it, where an element is not finite."""
    if _of_seeds(weight.expression):
        return
    value = weight.evaluate()
    for number, part in enumerate(torch.split(value.reshape(-1), AT_ONCE)):
        # The extremes are finite exactly if all is: NaN wins every comparison.
        low, high = (float(extreme) for extreme in torch.aminmax(part.float()))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise PassError(_problem(weight, layers, value, number * AT_ONCE, part))


def _of_seeds(expression: WeightExpression | None) -> bool:
    """Whether these are seeded numbers, at other places perhaps: they are finite, and need not be made to know that."""
    if not isinstance(expression, Applied):
        return False
    if expression.definition is ops.seeded:
        return True
    return expression.definition.has(Trait.MOVES) and all(map(_of_seeds, expression.operands))


def _problem(weight: Weight, layers: list[Op], value: Tensor, start: int, part: Tensor) -> str:
    first = int(torch.nonzero(~torch.isfinite(part.float()))[0, 0])
    place = [int(i) for i in torch.unravel_index(torch.tensor(start + first), value.shape)]
    where = layers[0].location or layers[0].name
    return f"weight '{weight.name}' of {where} cannot be quantized: element {place} is {float(part[first])}"
