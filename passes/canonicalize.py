"""Canonicalization: one spelling for what can be spelt in many ways, so that later patterns meet few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import Program
from graphwright.ir.rewriting import Outcome, rewrite
from graphwright.passes.base import Pass, register
from graphwright.passes.cse import eliminate_common_subexpressions
from graphwright.passes.folding import fold_numbers, fold_weights
from graphwright.passes.identities import IDENTITIES
from graphwright.passes.identities_of_parts import PARTS


@register
@dataclass(frozen=True)
class Canonicalize(Pass):
    """Identities, constant folding, common subexpressions and dead code, until nothing changes."""

    name: ClassVar[str] = "canonicalize"

    def run(self, program: Program) -> Outcome:
        total = Outcome()
        for graph in program.graphs.values():
            while True:
                outcome = rewrite(program, graph, (*IDENTITIES, *PARTS))
                outcome.near_misses = []  # an identity that does not apply is no news
                outcome.hits["fold-numbers"] += fold_numbers(graph)
                outcome.hits["fold-weights"] += fold_weights(program, graph)
                outcome.hits["common-subexpressions"] += eliminate_common_subexpressions(graph)
                outcome.hits["dead-code"] += graph.erase_dead()
                outcome.hits = +outcome.hits
                total.merge(outcome)
                if not outcome.changed:
                    break
        program.erase_unused_weights()
        return total
