"""Emission: how each op is written as ONNX nodes."""

from graphwright.backends.onnx.emit import attention, elementwise, experts, indexing, neural, reduction, shape
from graphwright.backends.onnx.emit.emitter import Emitter
from graphwright.backends.onnx.emit.table import EMISSIONS

__all__ = ["EMISSIONS", "Emitter", "attention", "elementwise", "experts", "indexing", "neural", "reduction", "shape"]
