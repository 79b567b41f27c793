"""Emission: how each op is written as calls of kernels: ours, or loops that TVM makes of tensor expressions."""

from graphwright.backends.tvm.emit import (
    attention,
    codes,
    elementwise,
    experts,
    indexing,
    matrix,
    neural,
    quantized,
    recurrence,
    reduction,
    rotary,
    shape,
    sorting,
)
from graphwright.backends.tvm.emit.graph import Emitted, emit_graph
from graphwright.backends.tvm.emit.kernel_module import KernelModule
from graphwright.backends.tvm.emit.table import EMISSIONS

__all__ = [
    "EMISSIONS",
    "Emitted",
    "KernelModule",
    "attention",
    "codes",
    "elementwise",
    "emit_graph",
    "experts",
    "indexing",
    "matrix",
    "neural",
    "quantized",
    "recurrence",
    "reduction",
    "rotary",
    "shape",
    "sorting",
]
