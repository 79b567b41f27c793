"""Lowering as tests want it: every finding of every pass, those that a report settles too."""

from __future__ import annotations

from graphwright.ir import Graph, Program, verify
from graphwright.ir.rewriting import Outcome
from graphwright.ir.targets import Target
from graphwright.passes.lowering.ort import to_dialect


def lower_program(program: Program, graph: Graph, target: Target) -> Outcome:
    """Lowers a program, in place; `graph` must be one of its graphs."""
    assert graph in program.graphs.values()
    outcome = Outcome()
    for each in to_dialect(target.name):
        outcome.merge(each.run(program))
        verify(program)
    return outcome
