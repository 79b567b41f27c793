"""Two phases, visibly: the decode graph is the prefill graph at one new token a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import Program, clone_graph
from graphwright.ir.convention import DECODE, PREFILL, SEQUENCE
from graphwright.ir.rewriting import Outcome
from graphwright.passes.base import Pass, PassError, has_prefill, register


@register
@dataclass(frozen=True)
class Specialize(Pass):
    """Adds the graph `decode`: `prefill` with S = 1, same weights and caches, to be priced and lowered apart."""

    name: ClassVar[str] = "specialize"
    findings: ClassVar[tuple[str, ...]] = (DECODE,)
    requires = (has_prefill,)

    def run(self, program: Program) -> Outcome:
        if DECODE in program.graphs:
            raise PassError("specialize: the program has a graph 'decode' already")
        program.graphs[DECODE] = clone_graph(program.graphs[PREFILL], DECODE, {SEQUENCE: 1})
        outcome = Outcome()
        outcome.hit(DECODE)
        return outcome
