"""Gate and up of a gated unit, packed into one product, become products of their own."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.dialects.ort.quantized import matmul_nbits
from graphwright.ir.graph import Op, Value
from graphwright.ir.weights import Applied
from graphwright.passes.base import register
from graphwright.passes.lowering.ort.table_pass import Context, TablePass

RULE = "separate-gates"


@register
@dataclass(frozen=True)
class SeparateGates(TablePass):
    """A product with packed codes that is split for a gated unit becomes one product for each part.

    Split copies every number of the product, which in prefill costs more than to read and round the input once again.
    Rows of codes stand apart, so each number is computed as before.
    """

    name: ClassVar[str] = "ort-separate-gates"
    findings: ClassVar[tuple[str, ...]] = (RULE,)

    def lower(self, context: Context) -> None:
        """Every gated unit of two parts of one `ort.matmul_nbits`."""
        for op in context.graph:
            if op.definition is not ops.glu:
                continue
            gate, up = op.inputs
            split = gate.defined_by(ops.split)
            product = None if split is None else split.inputs[0].defined_by(matmul_nbits)
            if split is None or product is None or up.owner is not split:
                continue
            problem = _unfit(context, split, product)
            if problem is not None:
                context.near_miss(RULE, op, problem)
                continue
            _separate(context, split, product)
            context.hit(RULE, op)


def _unfit(context: Context, split: Op, product: Op) -> str | None:
    if split.attributes["axis"] not in (product.result.type.rank - 1, -1):
        return f"the split is along axis {split.attributes['axis']}, not along rows"
    if len(product.result.uses) != 1 or context.graph.is_output(product.result):
        return "the product is read as a whole too"
    if any(value is not None and value.weight is None for value in product.operands[1:]):
        return "its codes are computed in the graph"
    return None


def _separate(context: Context, split: Op, product: Op) -> None:
    build = Builder(context.graph, product, product.location)
    ends = [0]
    for part in split.results:
        ends.append(ends[-1] + part.type.shape[-1].evaluate({}))
    for number, (part, (start, stop)) in enumerate(zip(split.results, pairwise(ends), strict=True)):
        rows = [v if v is None else _rows(context, v, number, start, stop) for v in product.operands[1:]]
        own = build.op(matmul_nbits, product.required("x"), *rows, **product.attributes)
        context.graph.replace(part, own.result)
    context.graph.erase_dead([split, product])


def _rows(context: Context, whole: Value, number: int, start: int, stop: int) -> Value:
    """Rows from `start` to `stop` of a weight, as a weight of the program."""
    weight = whole.weight
    assert weight is not None, "`_unfit` refuses others"
    rows = Applied.of(ops.slice, (weight.expression,), {"axis": 0, "start": start, "stop": stop})
    return context.graph.weight(context.program.add_weight(f"{weight.name}.part{number}", rows))
