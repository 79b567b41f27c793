"""ONNX and ONNX Runtime: `onnx.*` are operators of the standard set, `ort.*` are ONNX Runtime's own.

`capabilities` has the tables of what the two targets take: `portable`, and `ort`, which has the contrib operators too.
"""

from graphwright.ir.dialects.ort import (
    block_layout,
    capabilities,
    experts,
    group_query,
    operators,
    packed_caches,
    quantized,
    recurrence,
)

__all__ = [
    "block_layout",
    "capabilities",
    "experts",
    "group_query",
    "operators",
    "packed_caches",
    "quantized",
    "recurrence",
]
