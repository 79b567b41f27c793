"""Quantized versions of small programs: weights by rounding to nearest, activations rounded before them, the table."""

from __future__ import annotations

from dataclasses import dataclass

from graphwright.ir import Builder, DType, Op, Program, ops
from graphwright.ir.graph import Graph
from graphwright.ir.weights import Applied
from graphwright.passes import run_passes
from graphwright.passes.quantization import QuantizeWeights
from graphwright.passes.quantization.quantize_weights import Codes, ScaleType


@dataclass(frozen=True)
class Scheme:
    """Codes and groups of weights; `rounding` is the group in which activations are rounded to i8, None if they are
    not; `table` says whether the embedding is quantized too."""

    to: Codes
    group: int
    rounding: int | None = None
    table: bool = False
    scale: ScaleType = "f32"
    minimum: bool = False


def quantized(program: Program, scheme: Scheme) -> Program:
    """The program, changed in place."""
    if scheme.table:
        for graph in program.graphs.values():
            for op in graph:
                if op.definition is ops.embedding and "position" not in str(op.required("weight").name):
                    _quantize_table(program, graph, op, scheme)
    layers = QuantizeWeights(
        to=scheme.to, group=scheme.group, scale=scheme.scale, minimum=scheme.minimum, method="absmax"
    )
    run_passes(program, [layers])
    if scheme.rounding is not None:
        for graph in program.graphs.values():
            for op in graph:
                if op.definition is ops.linear:
                    _round(graph, op, scheme.rounding)
    return program


def _quantize_table(program: Program, graph: Graph, op: Op, scheme: Scheme) -> None:
    table = op.required("weight").weight
    assert table is not None
    attributes = {
        "to": DType(scheme.to),
        "group": scheme.group,
        "scale": DType(scheme.scale),
        "tensor_scale": scheme.scale == "f8e4m3",
        "minimum": scheme.minimum,
    }
    codes = Applied.of(ops.round_to_nearest, (table.expression,), attributes)
    new = graph.weight(program.add_weight(f"{table.name}.quantized", codes))
    build = Builder(graph, op, op.location)
    graph.replace(op.result, build(ops.quantized_embedding, new, op.required("indices")))
    graph.erase_dead([op])


def _round(graph: Graph, op: Op, group: int) -> None:
    x = op.required("x")
    made = next((u for u in x.users if u.definition is ops.fake_quantize), None)
    build = Builder(graph, op, op.location)
    graph.set_operand(op, 0, made.result if made else build(ops.fake_quantize, x, to=DType.I8, group=group))
