"""Rotary embedding by tables of cosines and sines, which are computed once a step for all layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import ops
from graphwright.ir.attributes import Attribute
from graphwright.ir.builder import Builder
from graphwright.ir.declare import OpDef
from graphwright.ir.dialects.cpu.rotary import rotary_embedding, rotary_table
from graphwright.ir.graph import Op, Value
from graphwright.passes.base import register
from graphwright.passes.lowering.cpu.kernel_pass import Context, KernelPass


@register
@dataclass(frozen=True)
class RotaryByTables(KernelPass):
    """`rope` becomes `cpu.rotary_embedding` by a `cpu.rotary_table` that all layers share."""

    name: ClassVar[str] = "cpu-rotary-tables"
    findings: ClassVar[tuple[str, ...]] = (rotary_embedding.name,)
    table_op: ClassVar[OpDef] = rotary_table
    turning_op: ClassVar[OpDef] = rotary_embedding

    def lower(self, context: Context) -> None:
        graph = context.graph
        tables: dict[tuple[Value, Value, Attribute], Op] = {}
        for op in graph:
            if op.definition is not ops.rope:
                continue
            x, positions, frequencies = op.inputs
            key = positions, frequencies, op.attributes["scale"]
            build = Builder(graph, op, op.location)
            table = tables.get(key) or build.op(self.table_op, positions, frequencies, scale=op.attributes["scale"])
            interleaved = op.attributes["interleaved"]
            new = build.op(self.turning_op, x, *table.results, interleaved=interleaved)
            if context.takes(self.turning_op.name, op, new):
                tables[key] = table
                graph.replace(op.result, new.result)
                graph.erase(op)
                context.spelt(self.turning_op.name, op)
            elif key not in tables:
                graph.erase(table)
