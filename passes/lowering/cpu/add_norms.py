"""A residual sum and the norm of it become one kernel that goes over a row once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.dialects.cpu.norms import add_layer_norm, add_rms_norm
from graphwright.ir.graph import Op
from graphwright.passes.base import register
from graphwright.passes.lowering.cpu.kernel_pass import Context, KernelPass

FUSED = {ops.rms_norm: add_rms_norm, ops.layer_norm: add_layer_norm}


@register
@dataclass(frozen=True)
class FuseAddNorms(KernelPass):
    """A residual sum and the norm of it become `cpu.add_rms_norm` or `cpu.add_layer_norm`."""

    name: ClassVar[str] = "cpu-add-norms"
    findings: ClassVar[tuple[str, ...]] = (add_rms_norm.name, add_layer_norm.name)

    def lower(self, context: Context) -> None:
        """Every norm of a sum of two tensors of one shape. Of several norms of one sum the first is fused."""
        graph = context.graph
        for op in graph:
            fused = FUSED.get(op.definition)
            addition = None if fused is None else op.required("x").defined_by(ops.add)
            if fused is None or addition is None:
                continue
            problem = _unfit(addition, op)
            if problem is not None:
                context.near_miss(fused.name, op, problem)
                continue
            # It stands where the sum stood, since the sum may have readers before the norm.
            build = Builder(graph, addition, op.location)
            new = build.op(fused, *addition.operands, *op.operands[1:], epsilon=op.attributes["epsilon"])
            if context.takes(fused.name, op, new):
                graph.replace(addition.result, new.results[0])
                graph.replace(op.result, new.results[1])
                graph.erase_dead([op, addition])
                context.hit(fused.name, op)


def _unfit(addition: Op, norm: Op) -> str | None:
    x, skip = addition.inputs
    if x.type != skip.type:
        return f"the sum is of {x.type} and {skip.type}"
    if x.weight is not None or skip.weight is not None:
        return "a weight is added, no residual"
    if any(v is not None and v.weight is None for v in norm.operands[1:]):
        return "its scale or shift is computed in the graph"
    return None
