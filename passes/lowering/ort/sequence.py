"""The lowering passes for ONNX Runtime in order: fusions first, then what fits nowhere is decomposed."""

from __future__ import annotations

from graphwright.ir.dialects.ort.capabilities import PORTABLE, select_target
from graphwright.passes.base import Pass
from graphwright.passes.lowering.ort.accepted import RequireAccepted
from graphwright.passes.lowering.ort.decompose import Decompose
from graphwright.passes.lowering.ort.experts import ExpertsToOperator
from graphwright.passes.lowering.ort.group_query_attention import FuseGroupQueryAttention
from graphwright.passes.lowering.ort.linear import LinearToMatMul
from graphwright.passes.lowering.ort.masked_attention import AttentionToOperator
from graphwright.passes.lowering.ort.packed_caches import PackCaches
from graphwright.passes.lowering.ort.padding import KeepPaddingFinite
from graphwright.passes.lowering.ort.quantized import QuantizedToOperators
from graphwright.passes.lowering.ort.recurrence import RecurrencesToKernels
from graphwright.passes.lowering.ort.ring_caches import RingsToGathers
from graphwright.passes.lowering.ort.rotary import RotaryToOperator
from graphwright.passes.lowering.ort.skip_norm import FuseSkipNorms
from graphwright.passes.lowering.ort.table_pass import Dialect


def to_dialect(name: str) -> tuple[Pass, ...]:
    """The passes down to the last op that ONNX Runtime (`ort`), or any runtime of the standard (`portable`), takes.

    Raises `UserError` for another name.
    """
    dialect: Dialect = "portable" if select_target(name) is PORTABLE else "ort"
    return (
        QuantizedToOperators(dialect),
        LinearToMatMul(dialect),
        RecurrencesToKernels(dialect),
        PackCaches(dialect),  # before attention, which takes packed caches
        FuseGroupQueryAttention(dialect),
        RotaryToOperator(dialect),
        AttentionToOperator(dialect),
        FuseSkipNorms(dialect),
        RingsToGathers(dialect),
        KeepPaddingFinite(dialect),
        Decompose(dialect),
        ExpertsToOperator(dialect),  # after narrow floats have been widened
        RequireAccepted(dialect),
    )
