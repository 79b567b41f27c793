"""Computes in a wider float type than the checkpoint's: a graph in bfloat16 runs in float32 on a CPU without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from graphwright.ir import DType, Graph, Program, StateType, TensorType, Type, Value, ops
from graphwright.ir.interpreter import COMPUTED
from graphwright.ir.rewriting import Outcome
from graphwright.ir.weights import Applied
from graphwright.passes.base import Pass, register


@register
@dataclass(frozen=True)
class ConvertDType(Pass):
    """Every float narrower than `to` becomes `to`; weights are cast when they are written. Widening is exact."""

    name: ClassVar[str] = "convert-dtype"
    findings: ClassVar[tuple[str, ...]] = ("converted",)
    to: Literal["f32", "f64"] = "f32"

    @property
    def promised_dtype(self) -> DType:
        return DType(self.to)

    def run(self, program: Program) -> Outcome:
        target = DType(self.to)
        outcome = Outcome()
        for name, graph in list(program.graphs.items()):
            program.graphs[name] = _convert(program, graph, target, outcome)
        program.erase_unused_weights()
        return outcome


def _widened(dtype: DType, target: DType) -> DType:
    return target if dtype in (DType.F16, DType.BF16, DType.F32) and dtype.bits < target.bits else dtype


def _widened_type(type: Type, target: DType) -> Type:
    if isinstance(type, TensorType):
        return type.with_dtype(_widened(type.dtype, target))
    if isinstance(type, StateType):
        return StateType(type.layout, type.tensor.with_dtype(_widened(type.dtype, target)))
    return type


def _convert(program: Program, graph: Graph, target: DType, outcome: Outcome) -> Graph:
    copy = Graph(graph.name)
    values: dict[Value, Value] = {}
    for value in graph.inputs:
        assert value.name is not None
        values[value] = copy.add_input(value.name, _widened_type(value.type, target))
    for value in graph.weights:
        weight = value.weight
        assert weight is not None
        if _widened_type(weight.type, target) != weight.type:
            weight = program.add_weight(weight.name, Applied.of(ops.cast, (weight.expression,), {"dtype": target}))
            outcome.count("converted", 1)
        values[value] = copy.weight(weight)
    for op in graph:
        attributes = {
            k: _widened(a, target) if k == COMPUTED and isinstance(a, DType) else a for k, a in op.attributes.items()
        }
        operands = [None if v is None else values[v] for v in op.operands]
        new = copy.insert(op.definition, operands, attributes, location=op.location)
        if any(a.type != b.type for a, b in zip(op.results, new.results, strict=True)):
            outcome.count("converted", 1, op.location)
        values.update(zip(op.results, new.results, strict=True))
    copy.outputs = {name: values[v] for name, v in graph.outputs.items()}
    return copy
