"""Heads of one token, or one head of many, lie in memory in the order in which a row of them does: a view will do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.ops.rules import ONE
from graphwright.passes.base import register
from graphwright.passes.lowering.cpu.kernel_pass import Context, KernelPass

RULE = "heads as views"


@register
@dataclass(frozen=True)
class HeadsAsViews(KernelPass):
    """`split_heads` and `merge_heads` that exchange an axis of length 1 become `reshape`, which moves nothing."""

    name: ClassVar[str] = "cpu-heads-as-views"
    findings: ClassVar[tuple[str, ...]] = (RULE,)

    def lower(self, context: Context) -> None:
        for op in context.graph:
            if op.definition not in (ops.split_heads, ops.merge_heads):
                continue
            heads = op.result if op.definition is ops.split_heads else op.inputs[0]
            _, count, sequence, _ = heads.type.shape
            if ONE in (count, sequence):
                view = Builder(context.graph, op, op.location)(ops.reshape, op.inputs[0], shape=op.result.type.shape)
                context.graph.replace(op.result, view)
                context.graph.erase(op)
                context.spelt(RULE, op)
