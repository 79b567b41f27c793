"""A gated unit reads gate and up where a packed projection left them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.dialects.cpu.columns import gated_columns
from graphwright.ir.graph import Op
from graphwright.passes.base import register
from graphwright.passes.lowering.cpu.kernel_pass import Context, KernelPass, first_column, splits_rows


@register
@dataclass(frozen=True)
class FuseGatedColumns(KernelPass):
    """A gated unit of two results of a split becomes `cpu.gated_columns` of what is split."""

    name: ClassVar[str] = "cpu-gated-columns"
    findings: ClassVar[tuple[str, ...]] = (gated_columns.name,)

    def lower(self, context: Context) -> None:
        graph = context.graph
        for op in graph:
            if op.definition is not ops.glu:
                continue
            gate, up = op.inputs
            split = gate.defined_by(ops.split)
            if split is None or up.owner is not split:
                context.near_miss(gated_columns.name, op, "gate and up are not columns of one packed row")
                continue
            problem = _unfit(split)
            if problem is not None:
                context.near_miss(gated_columns.name, op, problem)
                continue
            new = Builder(graph, op, op.location).op(
                gated_columns,
                split.inputs[0],
                kind=op.attributes["kind"],
                size=gate.type.shape[-1].evaluate({}),
                gate=first_column(split, gate),
                up=first_column(split, up),
            )
            if context.takes(gated_columns.name, op, new):
                graph.replace(op.result, new.result)
                graph.erase_dead([op])
                context.hit(gated_columns.name, op)


def _unfit(split: Op) -> str | None:
    return None if splits_rows(split) else f"the split is along axis {split.attributes['axis']}, not along rows"
