"""Faults of bringing back the codes of a quantized checkpoint."""

from __future__ import annotations

from benchmarks.mutations.altering import every
from benchmarks.mutations.fault import after, faults_of
from graphwright.ir import Dim, Graph, Op, Program, ops
from graphwright.ir.weights import Applied, WeightExpression


@after("restore-quantized", "stored")
def groups_of_another_size(program: Program) -> None:
    """A packed weight's scales are laid over groups of half the size, those at the end left out."""
    for graph, op in _layers(program, "layers.1.mlp"):
        codes, scales = _parts(op)
        first = Applied.of(ops.slice, (scales,), {"axis": 1, "start": Dim.of(0), "stop": Dim.of(1)})
        _put(program, graph, op, codes, Applied.of(ops.concat, (first, scales, first), {"axis": 1}), 8)


@after("restore-quantized", "stored")
def scales_packed_in_another_order(program: Program) -> None:
    """The rows of codes are packed as gate and up, their scales as up and gate."""
    for graph, op in _layers(program, "layers.0.mlp"):
        codes, scales = _parts(op)
        _put(program, graph, op, codes, _turned(scales), 16)


@after("restore-quantized", "stored")
def codes_in_the_place_of_others(program: Program) -> None:
    """The codes of gate and up change places, the scales do not."""
    for graph, op in _layers(program, "layers.1.mlp"):
        codes, scales = _parts(op)
        _put(program, graph, op, _turned(codes), scales, 16)


def _layers(program: Program, at: str) -> list[tuple[Graph, Op]]:
    """The packed gate and up of a module, in every graph."""
    return [(graph, op) for graph in program.graphs.values() for op in every(graph, ops.linear, at)]


def _parts(op: Op) -> tuple[WeightExpression, WeightExpression]:
    weight = op.required("weight").weight
    assert weight is not None
    assert isinstance(weight.expression, Applied)
    codes, scales = weight.expression.operands[:2]
    assert codes is not None
    assert scales is not None
    return codes, scales


def _turned(rows: WeightExpression) -> WeightExpression:
    """The second half of the rows before the first."""
    count = rows.type.shape[0].evaluate({})
    halves = [
        Applied.of(ops.slice, (rows,), {"axis": 0, "start": Dim.of(start), "stop": Dim.of(start + count // 2)})
        for start in (count // 2, 0)
    ]
    return Applied.of(ops.concat, tuple(halves), {"axis": 0})


def _put(program: Program, graph: Graph, op: Op, codes: WeightExpression, scales: WeightExpression, group: int) -> None:
    name = op.required("weight").name
    assert name is not None
    weight = program.add_weight(name, Applied.of(ops.quantized, (codes, scales), {"group": group}))
    graph.set_operand(op, ops.linear.operand_index("weight"), graph.weight(weight))


FAULTS = faults_of(globals())
