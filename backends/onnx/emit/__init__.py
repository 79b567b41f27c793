"""Emission: how each op is written as ONNX nodes."""

from graphwright.backends.onnx.emit import (
    attention,
    codes,
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
    "codes",
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
