"""Fused forms: groups of ops of a graph that one kernel does, with what is between them nowhere in memory."""

from graphwright.backends.tvm.emit.fusions.find import find_fusions
from graphwright.backends.tvm.emit.fusions.fusion import Fusion

__all__ = ["Fusion", "find_fusions"]
