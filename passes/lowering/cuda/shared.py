"""What the lowering for a CPU does too, for ops of the same meaning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from graphwright.ir.declare import OpDef
from graphwright.ir.dialects.cuda.attention import fused_attention
from graphwright.ir.dialects.cuda.rotary import rotary_append, rotary_embedding, rotary_table
from graphwright.ir.targets import Target
from graphwright.passes.base import handed_in, register
from graphwright.passes.lowering.cpu.attention import FuseAttention, attention_findings
from graphwright.passes.lowering.cpu.copies import CopyToOwnMemory
from graphwright.passes.lowering.cpu.heads_as_views import HeadsAsViews
from graphwright.passes.lowering.cpu.rotary_append import FuseRotaryAppend
from graphwright.passes.lowering.cpu.rotary_tables import RotaryByTables


@register
@dataclass(frozen=True)
class CudaRotaryByTables(RotaryByTables):
    """`rope` becomes `cuda.rotary_embedding` by a `cuda.rotary_table` that all layers share."""

    target: Target = field(metadata=handed_in("cuda"))
    name: ClassVar[str] = "cuda-rotary-tables"
    findings: ClassVar[tuple[str, ...]] = (rotary_embedding.name,)
    table_op: ClassVar[OpDef] = rotary_table
    turning_op: ClassVar[OpDef] = rotary_embedding


@register
@dataclass(frozen=True)
class CudaAttention(FuseAttention):
    """`attention` becomes `cuda.attention`, and takes in `merge_heads` behind it and `dequantize_tensor` before it."""

    target: Target = field(metadata=handed_in("cuda"))
    name: ClassVar[str] = "cuda-attention"
    findings: ClassVar[tuple[str, ...]] = attention_findings(fused_attention)
    made: ClassVar[OpDef] = fused_attention
    halves: ClassVar[bool] = False


@register
@dataclass(frozen=True)
class CudaRotaryAppend(FuseRotaryAppend):
    """`split`, `split_heads`, rotary embedding and `kv_append`, of numbers or codes, become `cuda.rotary_append`."""

    target: Target = field(metadata=handed_in("cuda"))
    name: ClassVar[str] = "cuda-rotary-append"
    findings: ClassVar[tuple[str, ...]] = (rotary_append.name,)
    made: ClassVar[OpDef] = rotary_append
    halves: ClassVar[bool] = False
    turning_op: ClassVar[OpDef] = rotary_embedding


@register
@dataclass(frozen=True)
class CudaHeadsAsViews(HeadsAsViews):
    """`split_heads` and `merge_heads` of one token or one head become `reshape`, for which no kernel runs."""

    target: Target = field(metadata=handed_in("cuda"))
    name: ClassVar[str] = "cuda-head-views"


@register
@dataclass(frozen=True)
class CudaCopies(CopyToOwnMemory):
    """A ring that comes in is copied before it is appended to, and so is an output without memory of its own."""

    target: Target = field(metadata=handed_in("cuda"))
    name: ClassVar[str] = "cuda-copies"
