"""Kernels that are generated for CPUs, as ops: what stands between the parts of one is nowhere in memory."""

from graphwright.ir.dialects.cpu import (
    attention,
    bf16,
    columns,
    memory,
    norms,
    packed_caches,
    packed_weights,
    quantized,
    rotary,
)

__all__ = ["attention", "bf16", "columns", "memory", "norms", "packed_caches", "packed_weights", "quantized", "rotary"]
