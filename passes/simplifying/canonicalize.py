"""Canonicalization: one spelling for what can be spelt in many ways, so that later patterns meet few."""

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import Graph, Op, Program, Value
from graphwright.ir.attributes import attribute_text
from graphwright.ir.rewriting import Outcome, rewrite
from graphwright.ir.types import StateType
from graphwright.passes.base import Pass, register
from graphwright.passes.simplifying.constant_folding import fold_numbers, fold_weights
from graphwright.passes.simplifying.identities import IDENTITIES
from graphwright.passes.simplifying.slice_identities import SLICE_IDENTITIES


@register
@dataclass(frozen=True)
class Canonicalize(Pass):
    """Identities, constant folding, common subexpressions and dead code, until nothing changes."""

    name: ClassVar[str] = "canonicalize"
    findings: ClassVar[tuple[str, ...]] = (
        *(rule.name for rule in (*IDENTITIES, *SLICE_IDENTITIES)),
        *("fold-numbers", "fold-weights", "common-subexpressions", "dead-code"),
    )

    def run(self, program: Program) -> Outcome:
        total = Outcome()
        for graph in program.graphs.values():
            while True:
                outcome = rewrite(program, graph, (*IDENTITIES, *SLICE_IDENTITIES))
                # another spelling is no meaning: that an identity does not apply is no news
                outcome = Outcome(outcome.places)
                outcome.count("fold-numbers", fold_numbers(graph))
                outcome.count("fold-weights", fold_weights(program, graph))
                outcome.count("common-subexpressions", eliminate_common_subexpressions(graph))
                outcome.count("dead-code", graph.erase_dead())
                total.merge(outcome)
                if not outcome.changed:
                    break
        program.erase_unused_weights()
        return total


def eliminate_common_subexpressions(graph: Graph) -> int:
    """Merges equal ops; the first one stays. Returns how many were removed."""
    first: dict[object, Op] = {}
    numbers: dict[Value, int] = {}
    removed = 0
    for op in graph:
        if any(isinstance(v.type, StateType) for v in op.results):
            continue
        operands = tuple(-1 if v is None else numbers.setdefault(v, len(numbers)) for v in op.operands)
        if op.definition.commutative:
            operands = tuple(sorted(operands))
        key = (op.definition, operands, tuple(attribute_text(a) for a in op.attributes.values()))
        earlier = first.setdefault(key, op)
        if earlier is not op:
            for old, new in zip(op.results, earlier.results, strict=True):
                graph.replace(old, new)
            graph.erase(op)
            removed += 1
    return removed
