"""What a legalization step is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from graphwright.ir.graph import Graph, Op
from graphwright.ir.program import Program
from graphwright.ir.rewriting import Outcome
from graphwright.ir.targets import Target


@dataclass
class Context:
    """What the steps share: the program whose weights they may add to, the graph, the table, and their findings."""

    program: Program
    graph: Graph
    target: Target
    outcome: Outcome = field(default_factory=Outcome)

    def hit(self, rule: str, op: Op) -> None:
        self.outcome.hit(rule, op)

    def near_miss(self, rule: str, op: Op, reason: str) -> None:
        self.outcome.miss(rule, op, 1, reason)


Step = Callable[[Context], None]
