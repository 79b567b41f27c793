"""What a lowering pass for ONNX Runtime is: it asks the table of its dialect what may stand in a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from graphwright.ir.dialects.ort.dialects import select_target
from graphwright.ir.targets import Target
from graphwright.passes.lowering.context import Context, LoweringPass

__all__ = ["Context", "Dialect", "TablePass"]

Dialect = Literal["ort", "ort-cuda", "portable"]


@dataclass(frozen=True)
class TablePass(LoweringPass):
    """A pass over the graphs by themselves, for ONNX Runtime (`ort`, `ort-cuda`) or any runtime of the standard
    (`portable`). Of ONNX Runtime, for a `release` on, as `1.31`; by default the one that the table was read off."""

    dialect: Dialect = "ort"
    release: str = ""

    def table(self) -> Target:
        return select_target(self.dialect, self.release)
