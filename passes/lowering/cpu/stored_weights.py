"""What is made of weights alone, from codes that no step computes with, is made when the weights are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.dialects.cpu.memory import STORED
from graphwright.ir.graph import Op, Value
from graphwright.ir.types import DType, QuantizedType, TensorType
from graphwright.ir.weights import Applied
from graphwright.passes.base import register
from graphwright.passes.lowering.cpu.kernel_pass import Context, KernelPass
from graphwright.passes.lowering.expert_floats import write_experts_as_floats

MADE = "made when written"
FLOATS = "codes written as floats"
CODES = "codes in products"


@register
@dataclass(frozen=True)
class WeightsMadeWhenWritten(KernelPass):
    """Ops of weights alone that no step could compute become weights, and so do the numbers of codes that no product
    reads."""

    name: ClassVar[str] = "cpu-stored-weights"
    findings: ClassVar[tuple[str, ...]] = (MADE, FLOATS, CODES)

    def lower(self, context: Context) -> None:
        graph = context.graph
        for op in graph:
            if _is_of_codes(op):
                weights = [None if v is None else v.weight for v in op.operands]
                first = next(w for w in weights if w is not None)
                operands = tuple(None if w is None else w.expression for w in weights)
                made = context.program.add_weight(
                    f"{first.name}.{op.name}", Applied.of(op.definition, operands, op.attributes)
                )
                graph.replace(op.result, graph.weight(made))
                graph.erase_dead([op])
                context.hit(MADE, op)
            elif op.definition is ops.linear:
                _written_as_floats(context, op)
            elif op.definition is ops.moe_experts:
                problem = write_experts_as_floats(context, op)
                if problem is not None:
                    context.near_miss(CODES, op, problem)
                    context.spelt(FLOATS, op)


def _is_of_codes(op: Op) -> bool:
    """Whether an op has weights alone, and no step could compute it."""
    if not op.inputs or len(op.results) > 1 or any(v.weight is None for v in op.inputs):
        return False
    types = [*(v.type for v in op.inputs), op.result.type]
    return not all(isinstance(type, TensorType) and type.dtype in STORED for type in types)


def _written_as_floats(context: Context, op: Op) -> None:
    """The product with floats in place of codes that no kernel reads; it computes in float32, or x's own wider type."""
    x, weight, bias = op.required("x"), op.required("weight"), op.operand("bias")
    if weight.weight is None or not isinstance(weight.type, QuantizedType):
        return
    problem = context.target.refusal(op)
    if problem is None:
        return
    context.near_miss(CODES, op, problem)
    wide = DType.F64 if x.tensor.dtype is DType.F64 else DType.F32
    floats = Applied.of(ops.dequantize, (weight.weight.expression,), {"dtype": wide})
    made = context.graph.weight(context.program.add_weight(f"{weight.weight.name}.{wide}", floats))
    build = Builder(context.graph, op, op.location)

    def cast(value: Value, dtype: DType) -> Value:
        return value if value.tensor.dtype is dtype else build(ops.cast, value, dtype=dtype)

    product = build(ops.linear, cast(x, wide), made, None if bias is None else cast(bias, wide))
    context.graph.replace(op.result, cast(product, op.result.tensor.dtype))
    context.graph.erase_dead([op])
    context.spelt(FLOATS, op)
