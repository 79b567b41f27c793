"""Emission: how each op is written in Relax, with kernels of ours or TVM's operators."""

from graphwright.backends.tvm.emit import attention, elementwise, indexing, neural, quantized, reduction, shape
from graphwright.backends.tvm.emit.function import Emitted, emit_function
from graphwright.backends.tvm.emit.memory import VIEWS
from graphwright.backends.tvm.emit.table import EMISSIONS

__all__ = [
    "EMISSIONS",
    "VIEWS",
    "Emitted",
    "attention",
    "elementwise",
    "emit_function",
    "indexing",
    "neural",
    "quantized",
    "reduction",
    "shape",
]
