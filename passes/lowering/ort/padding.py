"""Keeps what padding leaves behind out of caches that TensorScatter updates, and of what is read with a ring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.dialects.ort.group_query import group_query_attention
from graphwright.ir.dims import Dim
from graphwright.ir.types import DType
from graphwright.passes.base import register
from graphwright.passes.lowering.ort.ring_caches import ring_reads
from graphwright.passes.lowering.ort.table_pass import Context, TablePass

RULE = "keep-padding-finite"


@register
@dataclass(frozen=True)
class KeepPaddingFinite(TablePass):
    """Padding that may be NaN is zeroed before a cache takes it in."""

    name: ClassVar[str] = "ort-padding"
    findings: ClassVar[tuple[str, ...]] = (RULE,)

    def lower(self, context: Context) -> None:
        """Zeroes the padding of what is appended where it may be NaN.

        GroupQueryAttention gives NaN for a padding token that stands so far behind the real ones that its window holds
        none of them. Its own caches never take padding in; a TensorScatter of a later layer would, and attention over a
        ring reads the new tokens as they come. Masking does not help: zero times NaN is NaN.
        """
        graph = context.graph
        windowed = [op for op in graph if op.definition is group_query_attention and op.attributes["window"]]
        if not windowed:
            return
        length = windowed[0].operand("query_length")
        if length is None:
            # To the operator padding is as real as the rest, and its window holds it.
            return
        for op in graph:
            appends = op.definition is ops.kv_append and op.operand("new_length") is None
            new = op.required("new") if appends else ring_reads(op)
            if new is None or not new.tensor.dtype.is_float:
                # Codes are numbers, whatever they were made of.
                continue
            build = Builder(graph, op, op.location)
            one, sequence = Dim.of(1), new.type.shape[2]
            count = build(ops.reshape, build(ops.iota, size=sequence, dtype=DType.I32), shape=(sequence, one))
            real = build(ops.lt, count, build(ops.reshape, length, shape=(length.type.shape[0], one, one, one)))
            kept = build(ops.where, real, new, build.constant(0.0, new.tensor.dtype))
            graph.set_operand(op, 1, kept)
            context.spelt(RULE, op)
