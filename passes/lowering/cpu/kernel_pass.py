"""What a lowering pass for the CPU's kernels is: it asks their table what may stand in a graph."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from graphwright.ir.dialects.cpu.capabilities import CPU
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.program import Program
from graphwright.ir.rewriting import Outcome
from graphwright.passes.base import GraphPass
from graphwright.passes.lowering.context import Context

__all__ = ["Context", "KernelPass", "first_column", "splits_rows"]


@dataclass(frozen=True)
class KernelPass(GraphPass):
    """A pass over the graphs by themselves."""

    def run_graph(self, program: Program, graph: Graph) -> Outcome:
        context = Context(program, graph, CPU)
        self.lower(context)
        return context.outcome

    @abstractmethod
    def lower(self, context: Context) -> None:
        """Rewrites the context's graph in place."""


def splits_rows(split: Op) -> bool:
    """Whether a split cuts the last axis."""
    axis = split.attribute("axis", int)
    return axis % split.inputs[0].type.rank == split.inputs[0].type.rank - 1


def first_column(split: Op, result: Value) -> int:
    """Where in the last axis of what is split a result begins."""
    return sum(v.type.shape[-1].evaluate({}) for v in split.results[: result.index])
