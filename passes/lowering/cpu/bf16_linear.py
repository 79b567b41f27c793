"""Products that read activations rounded to bf16, and weights of such numbers, round as they go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.dialects.cpu.bf16 import bf16_linear, narrow_form
from graphwright.ir.graph import Op, Value
from graphwright.ir.types import DType
from graphwright.passes.base import register
from graphwright.passes.lowering.cpu.kernel_pass import Context, KernelPass


@register
@dataclass(frozen=True)
class RoundToBF16InProducts(KernelPass):
    """A cast to bf16 and back, and the product with a weight of bf16 numbers behind it, become `cpu.bf16_linear`."""

    name: ClassVar[str] = "cpu-bf16-linear"
    findings: ClassVar[tuple[str, ...]] = (bf16_linear.name,)

    def lower(self, context: Context) -> None:
        graph = context.graph
        for op in graph:
            x = _before_rounding(op) if op.definition is ops.linear else None
            if x is None:
                continue
            weight = op.required("weight").weight
            if weight is None or narrow_form(weight.expression) is None:
                context.near_miss(bf16_linear.name, op, "its weight may hold more than bf16 numbers")
                continue
            new = Builder(graph, op, op.location).op(bf16_linear, x, *op.operands[1:])
            if context.takes(bf16_linear.name, op, new):
                graph.replace(op.result, new.result)
                graph.erase_dead([op])
                context.hit(bf16_linear.name, op)


def _before_rounding(op: Op) -> Value | None:
    """What a product reads before it was cast to bf16 and back to f32; None where it was not."""
    wide = op.required("x").defined_by(ops.cast)
    if wide is None or wide.result.tensor.dtype is not DType.F32:
        return None
    narrow = wide.inputs[0].defined_by(ops.cast)
    if narrow is None or narrow.result.tensor.dtype is not DType.BF16:
        return None
    (x,) = narrow.inputs
    return x if x.tensor.dtype is DType.F32 else None
