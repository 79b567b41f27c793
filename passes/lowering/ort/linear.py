"""Linear layers become products with weights laid out as the product reads them.

ONNX Runtime copies each weight into a packed form when it loads, and lets go of the mapped one afterwards, so for a
moment it holds the largest weight twice. The output head of a small model is by far the largest: it goes in pieces.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.dialects.ort.operators import fused_matmul
from graphwright.ir.dims import Dim
from graphwright.ir.weights import Applied, Weight, WeightExpression
from graphwright.passes.base import register
from graphwright.passes.lowering.ort.table_pass import Context, TablePass

RULE = "linear-to-matmul"
PIECE_BYTES = 32 << 20
"""A weight larger than this is multiplied in pieces of about this size where the target reads weights as they are."""


@register
@dataclass(frozen=True)
class LinearToMatMul(TablePass):
    """Every linear over a weight becomes a product with the weight as the product reads it.

    It is stored transposed, unless it is large or the embedding reads the same weight: then a product reads the rows
    as they are stored, a piece at a time (or, where the target lacks that, the linear itself stays).
    """

    name: ClassVar[str] = "ort-linear"
    findings: ClassVar[tuple[str, ...]] = (RULE,)

    def lower(self, context: Context) -> None:
        graph = context.graph
        for op in graph:
            weight = op.operand("weight") if op.definition is ops.linear else None
            if weight is None or weight.weight is None or op.required("x").type.rank < 2:
                continue
            build = Builder(graph, op, op.location)
            stored = weight.weight
            shared = any(user.definition is not ops.linear for user in weight.users)
            pieces = _pieces(stored, self._most_bytes()) if context.target.accepts(fused_matmul) else []
            if not shared and len(pieces) < 2:
                expression = Applied.of(ops.transpose, (stored.expression,), {"permutation": (1, 0)})
                transposed = context.program.add_weight(f"{stored.name}.transposed", expression)
                result = build(ops.matmul, op.required("x"), graph.weight(transposed))
            elif pieces:
                rows = [graph.weight(context.program.add_weight(f"{stored.name}.rows", piece)) for piece in pieces]
                products = [build(fused_matmul, op.required("x"), piece) for piece in rows]
                result = products[0]
                if len(products) > 1:
                    result = build(ops.concat, *products, axis=op.result.type.rank - 1)
            else:
                continue
            bias = op.operand("bias")
            if bias is not None:
                result = build(ops.add, result, bias)
            graph.replace(op.result, result)
            graph.erase_dead([op])
            context.hit(RULE, op)

    def _most_bytes(self) -> int | None:
        """Of one piece; a GPU copies no weight into another form, so there it is whole."""
        return None if self.dialect == "ort-cuda" else PIECE_BYTES


def _pieces(weight: Weight, most: int | None) -> list[WeightExpression]:
    """The rows of a weight [out, in] in runs of about `most` bytes; the weight itself if one run holds them all."""
    rows = weight.type.shape[0].constant
    size = weight.type.bits.constant
    assert rows is not None
    assert size is not None
    count = 1 if most is None else min(rows, -(-size // (8 * most)))
    if count < 2:
        return [weight.expression]
    bounds = [rows * i // count for i in range(count + 1)]
    return [
        Applied.of(ops.slice, (weight.expression,), {"axis": 0, "start": Dim.of(start), "stop": Dim.of(stop)})
        for start, stop in pairwise(bounds)
    ]
