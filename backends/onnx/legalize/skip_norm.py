"""A residual addition and the norm after it become one operator that gives both the sum and the normed sum."""

from __future__ import annotations

from graphwright.backends.onnx.legalize.step import Context
from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.dialects.ort.operators import skip_layer_norm, skip_rms_norm

FUSED = {ops.rms_norm: skip_rms_norm, ops.layer_norm: skip_layer_norm}


def fuse_skip_norms(context: Context) -> None:
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
