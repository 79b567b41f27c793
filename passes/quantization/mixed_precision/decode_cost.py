"""What multiplying by a weight in some format costs in a decode step, by the cost model."""

from __future__ import annotations

from graphwright.ir import Graph, Op, Program, Weight, ops
from graphwright.ir.convention import DECODE
from graphwright.ir.machines import Machine
from graphwright.ir.pricing import graph_cost, total_time
from graphwright.ir.weights import WeightExpression
from graphwright.passes.calibration import calibration_graph


def decode_cost(program: Program, weight: Weight, expression: WeightExpression, machine: Machine | None) -> float:
    """Of all linear layers over the weight, for one token of one row, if it had that expression.

    Seconds by the roofline on a machine; where there is none, bytes of the weight read, which bind at this size.
    """
    graph = program.graphs.get(DECODE) or calibration_graph(program)
    layers = [op for op in graph if op.definition is ops.linear and op.required("weight").weight is weight]
    return sum(_cost(op, expression, machine) for op in layers)


def _cost(op: Op, expression: WeightExpression, machine: Machine | None) -> float:
    alone = Graph(op.name)
    operands = [
        value if value is None else alone.add_input(operand.name, value.type)
        for operand, value in zip(op.definition.operands, op.operands, strict=True)
    ]
    operands[op.definition.operand_index("weight")] = alone.weight(Weight("weight", expression))
    alone.insert(op.definition, operands, op.attributes)
    work = graph_cost(alone).at(dict.fromkeys(alone.symbols, 1))
    return sum(w.weight_bits for w in work) / 8 if machine is None else total_time(work, machine)[0]
