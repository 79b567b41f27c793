"""A residual addition and the norm after it become one operator that gives both the sum and the normed sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.dialects.ort.operators import skip_layer_norm, skip_rms_norm
from graphwright.passes.base import register
from graphwright.passes.lowering.ort.table_pass import Context, TablePass

FUSED = {ops.rms_norm: skip_rms_norm, ops.layer_norm: skip_layer_norm}


@register
@dataclass(frozen=True)
class FuseSkipNorms(TablePass):
    """A residual addition and the norm after it become one operator."""

    name: ClassVar[str] = "ort-skip-norms"
    findings: ClassVar[tuple[str, ...]] = (
        skip_rms_norm.name,
        skip_layer_norm.name,
    )

    def lower(self, context: Context) -> None:
        """Every norm of a sum of two tensors of one shape. Of several norms of one sum the first is fused."""
        graph = context.graph
        for op in graph:
            fused = FUSED.get(op.definition)
            if fused is None or not context.target.accepts(fused):
                continue
            addition = op.required("x").defined_by(ops.add)
            if addition is None or op.operand("weight") is None:
                continue
            x, skip = addition.inputs
            parameters = op.operands[1:]
            if x.type != skip.type or x.type.rank not in (2, 3) or any(p and p.weight is None for p in parameters):
                continue
            # It stands where the sum stood, since the sum may have users before the norm.
            build = Builder(graph, addition, op.location)
            new = build.op(fused, x, skip, *parameters, epsilon=op.attributes["epsilon"])
            problem = context.target.refusal(new)
            if problem is not None:
                graph.erase(new)
                context.near_miss(fused.name, op, problem)
                continue
            graph.replace(op.result, new.results[0])
            graph.replace(addition.result, new.results[1])
            graph.erase_dead([op, addition])
            context.hit(fused.name, op)
