"""Emission: how each op is written in Relax, with kernels of ours or TVM's operators."""

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
from graphwright.backends.tvm.emit.function import Emitted, emit_function
from graphwright.backends.tvm.emit.memory import VIEWS
from graphwright.backends.tvm.emit.table import EMISSIONS

__all__ = [
    "EMISSIONS",
    "VIEWS",
    "Emitted",
    "attention",
    "codes",
    "elementwise",
    "emit_function",
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
