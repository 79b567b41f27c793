"""Products with quantized weights of activations that were rounded to i8 round them as they go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.dialects.cpu.quantized import rounded_linear
from graphwright.ir.graph import Op
from graphwright.ir.types import DType, QuantizedType
from graphwright.passes.base import register
from graphwright.passes.lowering.cpu.kernel_pass import Context, KernelPass


@register
@dataclass(frozen=True)
class RoundInProducts(KernelPass):
    """`fake_quantize` and the product with a quantized weight behind it become `cpu.rounded_linear`."""

    name: ClassVar[str] = "cpu-rounded-linear"
    findings: ClassVar[tuple[str, ...]] = (rounded_linear.name,)

    def lower(self, context: Context) -> None:
        graph = context.graph
        for op in graph:
            rounding = op.required("x").defined_by(ops.fake_quantize) if op.definition is ops.linear else None
            if rounding is None:
                continue
            problem = _unfit(rounding, op)
            if problem is not None:
                context.near_miss(rounded_linear.name, op, problem)
                continue
            operands = (rounding.required("x"), *op.operands[1:])
            new = Builder(graph, op, op.location).op(rounded_linear, *operands, group=rounding.attributes["group"])
            if context.takes(rounded_linear.name, op, new):
                graph.replace(op.result, new.result)
                graph.erase_dead([op])
                context.hit(rounded_linear.name, op)


def _unfit(rounding: Op, product: Op) -> str | None:
    to, weight = rounding.attributes["to"], product.required("weight").type
    if to is not DType.I8:
        return f"activations are rounded to {to}, its kernel rounds to i8"
    if rounding.operand("scale") is not None:
        return "activations have a scale that was fitted, its kernel finds one for each group"
    return None if isinstance(weight, QuantizedType) else f"its weight is {weight}, not of codes"
