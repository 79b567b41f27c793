"""Lowered graphs as launches of kernels: which kernel with which constants, on which memory."""

from graphwright.backends.cuda.emit.emitter import Variants
from graphwright.backends.cuda.emit.graph import emit_graph
from graphwright.backends.cuda.emit.variants import TailVariant, Variant

__all__ = ["TailVariant", "Variant", "Variants", "emit_graph"]
