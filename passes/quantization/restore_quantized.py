"""Linear layers over numbers that were stored as codes multiply by the codes again."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

from graphwright.ir import Builder, Dim, Graph, Op, Program, Value, ops
from graphwright.ir.rewriting import Outcome
from graphwright.ir.types import TensorType
from graphwright.ir.weights import Applied, WeightExpression
from graphwright.passes.base import Pass, register
from graphwright.passes.quantization.stored_weights import (
    NotStored,
    StoredRows,
    blocks,
    joined,
    rows,
    stands_for_codes,
    symmetric,
)

RULE = "restore-quantized"


@register
@dataclass(frozen=True)
class RestoreQuantized(Pass):
    """A weight of floats that stands for stored codes becomes the quantized weight, as the checkpoint has it.

    Rows may have been cut and packed on the way. Packed projections whose formats differ come apart again. Columns that
    are stored in the order of their groups stay so: the layer's input is put into that order. Codes whose zero points
    are all the middle become signed.
    """

    name: ClassVar[str] = RULE
    findings: ClassVar[tuple[str, ...]] = (RULE,)

    def run(self, program: Program) -> Outcome:
        outcome = Outcome()
        known: dict[WeightExpression, list[Block] | NotStored] = {}
        for graph in program.graphs.values():
            for op in graph:
                for i, value in enumerate(op.operands):
                    weight = None if value is None else value.weight
                    if weight is None or not isinstance(weight.type, TensorType):
                        continue
                    if not stands_for_codes(weight.expression):
                        continue
                    if op.definition is not ops.linear or i != ops.linear.operand_index("weight"):
                        outcome.miss(RULE, op, 2, f"{op.name} takes weight '{weight.name}' as floats")
                        continue
                    if weight.expression not in known:
                        known[weight.expression] = _blocks(weight.expression)
                    found = known[weight.expression]
                    if isinstance(found, NotStored):
                        outcome.miss(RULE, op, 2, f"weight '{weight.name}' stays as floats: {found}")
                        continue
                    _replace(program, graph, op, weight.name, found)
                    outcome.hit(RULE, op)
            graph.erase_dead()
        program.erase_unused_weights()
        return outcome


Block = StoredRows | WeightExpression
"""Rows of a weight: as they are stored, or as floats."""


def _blocks(expression: WeightExpression) -> list[Block] | NotStored:
    """A weight as one block, or as several, one below the other; why not, if nothing of it is stored."""
    try:
        return [symmetric(rows(expression))]
    except NotStored as problem:
        found = [_stored(part) for part in blocks(expression)]
        return problem if not any(isinstance(b, StoredRows) for b in found) else list(_together(found))


def _stored(part: WeightExpression) -> Block:
    try:
        return rows(part)
    except NotStored:
        return part


def _together(found: list[Block]) -> Iterator[Block]:
    """Neighbours of one format as one block."""
    for format, group in groupby(found, key=lambda b: b.format if isinstance(b, StoredRows) else None):
        if format is None:
            yield from group
        else:
            yield symmetric(joined([b for b in group if isinstance(b, StoredRows)]))


def _replace(program: Program, graph: Graph, op: Op, name: str, found: list[Block]) -> None:
    build = Builder(graph, op, op.location)
    x, bias = op.required("x"), op.operand("bias")
    results: list[Value] = []
    reached = Dim.of(0)
    for block in found:
        columns = x
        if isinstance(block, StoredRows):
            weight = program.add_weight(f"{name}.quantized", block.quantized)
            if block.order is not None:
                order = program.add_weight(f"{name}.order", block.order)
                columns = build(ops.gather, x, graph.weight(order), axis=x.type.rank - 1)
        else:
            weight = program.add_weight(f"{name}.floats", block)
        end = reached + weight.type.shape[0]
        part = bias if bias is None or len(found) == 1 else _cut(program, graph, build, bias, reached, end)
        operands = [columns, graph.weight(weight), part]
        results.append(graph.insert(ops.linear, operands, {}, before=op, location=op.location).result)
        reached = end
    whole = results[0] if len(results) == 1 else build(ops.concat, *results, axis=x.type.rank - 1)
    graph.replace(op.result, whole)


def _cut(program: Program, graph: Graph, build: Builder, bias: Value, start: Dim, stop: Dim) -> Value:
    if bias.weight is None:
        return build(ops.slice, bias, axis=0, start=start, stop=stop)
    cut = Applied.of(ops.slice, (bias.weight.expression,), {"axis": 0, "start": start, "stop": stop})
    return graph.weight(program.add_weight(bias.weight.name, cut))
