"""ONNX and ONNX Runtime: `onnx.*` are operators of the standard set, `ort.*` are ONNX Runtime's own.

`capabilities` has the tables of what the targets on CPUs take: `portable`, and `ort`, which has the contrib operators
too; `cuda_capabilities` that of ONNX Runtime on GPUs, and `dialects` all of them by name.
"""

from graphwright.ir.dialects.ort import (
    block_layout,
    capabilities,
    conditions,
    cuda_capabilities,
    dialects,
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
    "conditions",
    "cuda_capabilities",
    "dialects",
    "experts",
    "group_query",
    "operators",
    "packed_caches",
    "quantized",
    "recurrence",
]
