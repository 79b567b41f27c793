"""What a lowering pass for ONNX Runtime is: it asks the table of its dialect what may stand in a graph."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Literal

from graphwright.ir.dialects.ort.capabilities import TARGETS
from graphwright.ir.graph import Graph, Op
from graphwright.ir.program import Program
from graphwright.ir.rewriting import Outcome
from graphwright.ir.targets import Target
from graphwright.passes.base import GraphPass

Dialect = Literal["ort", "portable"]


@dataclass
class Context:
    """One graph under a pass: the program whose weights it may add to, the table, and what was found."""

    program: Program
    graph: Graph
    target: Target
    outcome: Outcome = field(default_factory=Outcome)

    def hit(self, rule: str, op: Op) -> None:
        """The op was recognized as what an operator computes, which took its place."""
        self.outcome.hit(rule, op)

    def spelt(self, rule: str, op: Op) -> None:
        """The op was only spelt otherwise: what stopped a better operator at it is still worth telling."""
        self.outcome.count(rule, 1, op.location)

    def near_miss(self, rule: str, op: Op, reason: str) -> None:
        self.outcome.miss(rule, op, 1, reason)


@dataclass(frozen=True)
class TablePass(GraphPass):
    """A pass over the graphs by themselves, for ONNX Runtime (`ort`) or any runtime of the standard (`portable`)."""

    dialect: Dialect = "ort"

    def run_graph(self, program: Program, graph: Graph) -> Outcome:
        context = Context(program, graph, TARGETS[self.dialect])
        self.lower(context)
        return context.outcome

    @abstractmethod
    def lower(self, context: Context) -> None:
        """Rewrites the context's graph in place."""
