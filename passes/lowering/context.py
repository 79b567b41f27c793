"""What a lowering pass is, and what it works on: a graph, the table of its target, a record of what was found."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field

from graphwright.ir.graph import Graph, Op
from graphwright.ir.program import Program
from graphwright.ir.rewriting import Outcome
from graphwright.ir.targets import Target
from graphwright.passes.base import GraphPass


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

    def takes(self, rule: str, op: Op, new: Op) -> bool:
        """Whether the target takes `new`, which may stand for `op`. If not it is erased, and the reason told."""
        problem = self.target.refusal(new)
        if problem is not None:
            self.graph.erase(new)
            self.near_miss(rule, op, problem)
        return problem is None


@dataclass(frozen=True)
class LoweringPass(GraphPass):
    """A pass over the graphs by themselves that asks the table of its target what may stand in them."""

    @abstractmethod
    def table(self) -> Target:
        """What the target takes."""

    def run_graph(self, program: Program, graph: Graph) -> Outcome:
        context = Context(program, graph, self.table())
        self.lower(context)
        return context.outcome

    @abstractmethod
    def lower(self, context: Context) -> None:
        """Rewrites the context's graph in place."""
