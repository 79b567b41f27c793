"""Lowering: passes from the ops of a captured program down to those of a target's dialect, one room for each target."""

from graphwright.passes.lowering.cpu import cpu_lowering
from graphwright.passes.lowering.decoders import INTERFACE, ONE_GRAPH, PHASES
from graphwright.passes.lowering.ort import HuggingFaceInterface, to_dialect

__all__ = ["INTERFACE", "ONE_GRAPH", "PHASES", "HuggingFaceInterface", "cpu_lowering", "to_dialect"]
