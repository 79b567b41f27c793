"""What a lowering pass for ONNX Runtime is: it asks the table of its dialect what may stand in a graph."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

from graphwright.ir.dialects.ort.capabilities import TARGETS
from graphwright.ir.graph import Graph
from graphwright.ir.program import Program
from graphwright.ir.rewriting import Outcome
from graphwright.passes.base import GraphPass
from graphwright.passes.lowering.context import Context

__all__ = ["Context", "Dialect", "TablePass"]

Dialect = Literal["ort", "portable"]


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
