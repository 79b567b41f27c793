"""Caches of 4-bit codes as bytes of two: neither GroupQueryAttention nor TensorScatter takes a type of four bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir.dialects.ort.packed_caches import dequantize_packed, quantize_packed
from graphwright.passes.base import register
from graphwright.passes.lowering.narrow_caches import RULE, pack_caches
from graphwright.passes.lowering.ort.table_pass import Context, TablePass


@register
@dataclass(frozen=True)
class PackCaches(TablePass):
    """Caches of 4-bit codes hold two codes in a byte."""

    name: ClassVar[str] = "ort-packed-caches"
    findings: ClassVar[tuple[str, ...]] = (RULE,)

    def lower(self, context: Context) -> None:
        pack_caches(context, quantize_packed, dequantize_packed)
