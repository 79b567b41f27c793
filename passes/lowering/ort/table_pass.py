"""What a lowering pass for ONNX Runtime is: it asks the table of its dialect what may stand in a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from graphwright.ir.dialects.ort.capabilities import TARGETS
from graphwright.ir.targets import Target
from graphwright.passes.lowering.context import Context, LoweringPass

__all__ = ["Context", "Dialect", "TablePass"]

Dialect = Literal["ort", "portable"]


@dataclass(frozen=True)
class TablePass(LoweringPass):
    """A pass over the graphs by themselves, for ONNX Runtime (`ort`) or any runtime of the standard (`portable`)."""

    dialect: Dialect = "ort"

    def table(self) -> Target:
        return TARGETS[self.dialect]
