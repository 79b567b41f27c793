"""Batch and heads that were folded into one axis for `bmm`, taken apart: the fold moves behind what can do without."""

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import Builder, Graph, Op, Program, Value, ops
from graphwright.ir.dims import Dim
from graphwright.ir.rewriting import Outcome
from graphwright.ir.traits import Trait
from graphwright.passes.base import GraphPass, register


@register
@dataclass(frozen=True)
class UnfoldHeads(GraphPass):
    """f(reshape(x [a, b, …], [a*b, …])) becomes reshape(f(x)) where f treats the first axis element by element.

    f is a product of matrices, an elementwise op, a softmax, a transpose of other axes. Once the fold meets the reshape
    that undoes it, canonicalization erases both.
    """

    name: ClassVar[str] = "unfold-heads"
    findings: ClassVar[tuple[str, ...]] = ("unfold",)

    def run_graph(self, program: Program, graph: Graph) -> Outcome:
        outcome = Outcome()
        for op in graph:
            # a fold moves down to ops that stand later, so that one sweep carries it as far as it goes
            unfolded = _unfolded(graph, op)
            if unfolded is not None:
                graph.replace(op.result, unfolded)
                outcome.hit("unfold", op)
        return outcome


def _unfolded(graph: Graph, op: Op) -> Value | None:
    """The op done on unfolded operands and folded after, or None if it is not of that kind."""
    if len(op.results) != 1 or not _keeps_first_axis(op):
        return None
    rank = op.result.type.rank
    folds = [pair for v in op.inputs if v.type.rank == rank and (pair := _fold(v)) is not None]
    if not folds or any(pair != folds[0] for pair in folds):
        return None
    first, second = folds[0]
    build = Builder(graph, op, op.location)
    operands: list[Value | None] = []
    for value in op.operands:
        if value is None or value.type.rank < rank:
            operands.append(value)
            continue
        source = value.owner.inputs[0] if _fold(value) is not None and value.owner is not None else None
        outer = (Dim.of(1), Dim.of(1)) if value.type.shape[0].constant == 1 else (first, second)
        operands.append(source or build(ops.reshape, value, shape=(*outer, *value.type.shape[1:])))
    attributes = dict(op.attributes)
    if op.definition is ops.transpose:
        attributes["permutation"] = (0, *(p + 1 for p in op.attribute("permutation", tuple[int, ...])))
    elif op.definition is ops.softmax:
        attributes["axis"] = op.attribute("axis", int) % rank + 1
    return build(ops.reshape, build(op.definition, *operands, **attributes), shape=op.result.type.shape)


def _keeps_first_axis(op: Op) -> bool:
    if op.definition is ops.transpose:
        return op.attribute("permutation", tuple[int, ...])[0] == 0
    if op.definition is ops.softmax:
        return op.attributes["axis"] not in (0, -op.result.type.rank)
    if op.definition is ops.matmul:
        return op.result.type.rank == 3 and all(v.type.rank == 3 for v in op.inputs)
    return op.definition.has(Trait.ELEMENTWISE)


def _fold(value: Value) -> tuple[Dim, Dim] | None:
    """The two axes that a reshape folds into the first one, leaving the others as they are."""
    owner = value.owner
    if owner is None or owner.definition is not ops.reshape:
        return None
    before, after = list(owner.inputs[0].type.shape), list(value.type.shape)
    folds = len(after) > 1 and len(before) == len(after) + 1 and before[2:] == after[1:]
    return (before[0], before[1]) if folds and before[0] * before[1] is after[0] else None
