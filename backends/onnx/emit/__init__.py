"""Emission: how each op is written as ONNX nodes."""

from graphwright.backends.onnx.emit import (
    attention,
    codes,
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

__all__ = ["EMISSIONS", "TABLES", "Emitter"]

TABLES = (
    *(attention, codes, elementwise, experts, indexing),
    *(neural, quantized, recurrence, reduction, shape),
)
EMISSIONS = {definition: emission for table in TABLES for definition, emission in table.EMISSIONS.items()}
