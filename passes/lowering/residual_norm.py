"""A residual sum and the norm of it become one op that gives both: the rule of every target that has such an op."""

from __future__ import annotations

from collections.abc import Mapping

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.declare import OpDef
from graphwright.ir.graph import Op
from graphwright.passes.lowering.context import Context


def fuse_residual_norms(context: Context, fused: Mapping[OpDef, OpDef], *, sum_at: int) -> None:
    """Every norm of a sum of two tensors of one shape. Of several norms of one sum the first is fused.

    `fused` names the target's op for each norm. It takes both summands and then what the norm takes besides. It has two
    results, of which `sum_at` is the sum and the other one the norm.
    """
    graph = context.graph
    for op in graph:
        one = fused.get(op.definition)
        addition = None if one is None else op.required("x").defined_by(ops.add)
        if one is None or addition is None or not context.target.accepts(one):
            continue
        problem = _unfit(addition, op, one)
        if problem is not None:
            context.near_miss(one.name, op, problem)
            continue
        # It stands where the sum stood, since the sum may have readers before the norm.
        build = Builder(graph, addition, op.location)
        new = build.op(one, *addition.operands, *op.operands[1:], epsilon=op.attributes["epsilon"])
        if context.takes(one.name, op, new):
            graph.replace(addition.result, new.results[sum_at])
            graph.replace(op.result, new.results[1 - sum_at])
            graph.erase_dead([op, addition])
            context.hit(one.name, op)


def _unfit(addition: Op, norm: Op, fused: OpDef) -> str | None:
    x, skip = addition.inputs
    if x.type != skip.type:
        return f"the sum is of {x.type} and {skip.type}"
    if x.weight is not None or skip.weight is not None:
        return "a weight is added, no residual"
    for operand, value in zip(fused.operands[2:], norm.operands[1:], strict=True):
        if value is None and not operand.optional:
            return f"it has no {operand.name}"
        if value is not None and value.weight is None:
            return "its scale or shift is computed in the graph"
    return None
