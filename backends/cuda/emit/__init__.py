"""Lowered graphs as launches of kernels: which kernel with which constants, on which memory."""

from graphwright.backends.cuda.emit.emitter import Variant
from graphwright.backends.cuda.emit.graph import emit_graph

__all__ = ["Variant", "emit_graph"]
