"""Canonicalization: one spelling for what can be spelt in many ways, so that later patterns meet few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import Program
from graphwright.ir.rewriting import Outcome, rewrite
from graphwright.passes.base import Pass, register
from graphwright.passes.simplifying.common_subexpressions import eliminate_common_subexpressions
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
