"""A residual addition and the norm after it become one operator that gives both the normed sum and the sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import ops
from graphwright.ir.dialects.ort.operators import skip_layer_norm, skip_rms_norm
from graphwright.passes.base import register
from graphwright.passes.lowering.ort.table_pass import Context, TablePass
from graphwright.passes.lowering.residual_norm import fuse_residual_norms


@register
@dataclass(frozen=True)
class FuseSkipNorms(TablePass):
    """A residual addition and the norm after it become one operator."""

    name: ClassVar[str] = "ort-skip-norms"
    findings: ClassVar[tuple[str, ...]] = (skip_rms_norm.name, skip_layer_norm.name)

    def lower(self, context: Context) -> None:
        fuse_residual_norms(context, {ops.rms_norm: skip_rms_norm, ops.layer_norm: skip_layer_norm}, sum_at=1)
