"""The lowering passes for ONNX Runtime in order: fusions first, then what fits nowhere is decomposed."""

from __future__ import annotations

from typing import cast

from graphwright.ir.dialects.ort.dialects import select_target
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
from graphwright.passes.lowering.ort.separate_gates import SeparateGates
from graphwright.passes.lowering.ort.skip_norm import FuseSkipNorms
from graphwright.passes.lowering.ort.table_pass import Dialect


def to_dialect(name: str, release: str = "") -> tuple[Pass, ...]:
    """The passes down to the last op that ONNX Runtime (`ort`, on GPUs `ort-cuda`), or any runtime of the standard
    (`portable`), takes. `release` is the first of ONNX Runtime that is to run it, by default the one of the table.

    Raises `UserError` for another name, and for a release that there is no table for.
    """
    select_target(name, release)
    dialect = cast(Dialect, name)
    experts = ExpertsToOperator(dialect, release)
    return (
        QuantizedToOperators(dialect, release),
        # Measured on the CPU; on a GPU the copy may cost less than a second launch.
        *((SeparateGates(dialect, release),) if dialect == "ort" else ()),
        LinearToMatMul(dialect, release),
        RecurrencesToKernels(dialect, release),
        PackCaches(dialect, release),  # before attention, which takes packed caches
        FuseGroupQueryAttention(dialect, release),
        RotaryToOperator(dialect, release),
        AttentionToOperator(dialect, release),
        FuseSkipNorms(dialect, release),
        RingsToGathers(dialect, release),
        KeepPaddingFinite(dialect, release),
        # Where the operator takes narrow floats before these are widened, else after.
        *((experts,) if dialect == "ort-cuda" else ()),
        Decompose(dialect, release),
        *(() if dialect == "ort-cuda" else (experts,)),
        RequireAccepted(dialect, release),
    )
