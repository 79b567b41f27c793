"""Caches of 4-bit codes as bytes of two, which attention reads as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir.dialects.cpu.packed_caches import dequantize_packed, quantize_packed
from graphwright.passes.base import register
from graphwright.passes.lowering.cpu.kernel_pass import Context, KernelPass
from graphwright.passes.lowering.narrow_caches import RULE, pack_caches


@register
@dataclass(frozen=True)
class PackCaches(KernelPass):
    """Caches of 4-bit codes hold two codes in a byte, from both halves of a row."""

    name: ClassVar[str] = "cpu-packed-caches"
    findings: ClassVar[tuple[str, ...]] = (RULE,)

    def lower(self, context: Context) -> None:
        pack_caches(context, quantize_packed, dequantize_packed)
