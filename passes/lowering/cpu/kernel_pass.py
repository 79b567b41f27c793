"""What a lowering pass for the CPU's kernels is: it asks their table what may stand in a graph."""

from __future__ import annotations

from dataclasses import dataclass, field

from graphwright.ir.graph import Op, Value
from graphwright.ir.targets import Target
from graphwright.passes.base import handed_in
from graphwright.passes.lowering.context import Context, LoweringPass

__all__ = ["Context", "KernelPass", "first_column", "splits_rows"]


@dataclass(frozen=True)
class KernelPass(LoweringPass):
    """A pass over the graphs by themselves, for the kernels of a CPU."""

    target: Target = field(metadata=handed_in("cpu"))

    def table(self) -> Target:
        return self.target


def splits_rows(split: Op) -> bool:
    """Whether a split cuts the last axis."""
    axis = split.attribute("axis", int)
    return axis % split.inputs[0].type.rank == split.inputs[0].type.rank - 1


def first_column(split: Op, result: Value) -> int:
    """Where in the last axis of what is split a result begins."""
    return sum(v.type.shape[-1].evaluate({}) for v in split.results[: result.index])
