"""Linear layers become products with weights laid out as the product reads them."""

from __future__ import annotations

from graphwright.backends.onnx.dialect import fused_matmul
from graphwright.backends.onnx.legalize.step import Context
from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.weights import Applied


def linear_to_matmul(context: Context) -> None:
    """Every linear over a weight.

    Its weight is stored transposed, unless the embedding reads the same weight: then one copy serves both, by a
    product that reads it transposed (or, where the target lacks that, by the linear itself).
    """
    graph = context.graph
    for op in graph:
        weight = op.operand("weight") if op.definition is ops.linear else None
        if weight is None or weight.weight is None or op.required("x").type.rank < 2:
            continue
        build = Builder(graph, op, op.location)
        shared = any(user.definition is not ops.linear for user in weight.users)
        if not shared:
            stored = weight.weight
            expression = Applied.of(ops.transpose, (stored.expression,), {"permutation": (1, 0)})
            transposed = context.program.add_weight(f"{stored.name}.transposed", expression)
            result = build(ops.matmul, op.required("x"), graph.weight(transposed))
        elif context.target.accepts(fused_matmul):
            result = build(fused_matmul, op.required("x"), weight)
        else:
            continue
        bias = op.operand("bias")
        if bias is not None:
            result = build(ops.add, result, bias)
        graph.replace(op.result, result)
        graph.erase_dead([op])
        context.hit("linear-to-matmul")
