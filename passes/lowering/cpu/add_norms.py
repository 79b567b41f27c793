"""A residual sum and the norm of it become one kernel that goes over a row once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import ops
from graphwright.ir.dialects.cpu.norms import add_layer_norm, add_rms_norm
from graphwright.passes.base import register
from graphwright.passes.lowering.cpu.kernel_pass import Context, KernelPass
from graphwright.passes.lowering.residual_norm import fuse_residual_norms


@register
@dataclass(frozen=True)
class FuseAddNorms(KernelPass):
    """A residual sum and the norm of it become `cpu.add_rms_norm` or `cpu.add_layer_norm`."""

    name: ClassVar[str] = "cpu-add-norms"
    findings: ClassVar[tuple[str, ...]] = (add_rms_norm.name, add_layer_norm.name)

    def lower(self, context: Context) -> None:
        fuse_residual_norms(context, {ops.rms_norm: add_rms_norm, ops.layer_norm: add_layer_norm}, sum_at=0)
