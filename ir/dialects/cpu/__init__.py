"""Kernels that are generated for CPUs, as ops: what stands between the parts of one is nowhere in memory.

`capabilities` has the table of what the kernels take.
"""

from graphwright.ir.dialects.cpu import (
    attention,
    capabilities,
    columns,
    memory,
    norms,
    packed_weights,
    quantized,
    rotary,
)

__all__ = ["attention", "capabilities", "columns", "memory", "norms", "packed_weights", "quantized", "rotary"]
