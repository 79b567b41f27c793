"""Emission: how each op is written as ONNX nodes."""

from graphwright.backends.onnx.emit import (
    attention,
    convolution,
    elementwise,
    experts,
    indexing,
    neural,
    quantized,
    recurrence,
    reduction,
    shape,
)
from graphwright.backends.onnx.emit.emitter import Emitter
from graphwright.backends.onnx.emit.table import EMISSIONS

__all__ = [
    "EMISSIONS",
    "Emitter",
    "attention",
    "convolution",
    "elementwise",
    "experts",
    "indexing",
    "neural",
    "quantized",
    "recurrence",
    "reduction",
    "shape",
]
