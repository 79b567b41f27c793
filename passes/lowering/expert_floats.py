"""Experts in codes that no kernel of a target reads: their numbers, written as floats."""

from __future__ import annotations

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.graph import Op, Value
from graphwright.ir.types import DType, QuantizedType
from graphwright.ir.weights import Applied
from graphwright.passes.lowering.context import Context

STACKS = ("gate_up", "down")


def write_experts_as_floats(context: Context, op: Op) -> str | None:
    """Replaces a `moe_experts` over stored codes that the target does not take by one over floats, and says why; None
    if there is nothing to do.

    It computes in float32, in which the numbers of codes are exact, or in x's own wider type.
    """
    types = [op.required(name).type for name in STACKS]
    if not any(isinstance(type, QuantizedType) for type in types):
        return None
    problem = context.target.refusal(op)
    if problem is None or any(op.required(name).weight is None for name in STACKS):
        return None
    x = op.required("x")
    wide = DType.F64 if x.tensor.dtype is DType.F64 else DType.F32
    build = Builder(context.graph, op, op.location)

    def cast(value: Value | None) -> Value | None:
        return value if value is None or value.tensor.dtype is wide else build(ops.cast, value, dtype=wide)

    def floats(value: Value) -> Value:
        weight = value.weight
        assert weight is not None, "checked above"
        definition = ops.dequantize if isinstance(value.type, QuantizedType) else ops.cast
        numbers = Applied.of(definition, (weight.expression,), {"dtype": wide})
        return context.graph.weight(context.program.add_weight(f"{weight.name}.{wide}", numbers))

    operands = [
        cast(x),
        *op.operands[1:3],
        *(floats(op.required(name)) for name in STACKS),
        *(cast(op.operand(name)) for name in ("gate_up_bias", "down_bias")),
    ]
    new = build(ops.moe_experts, *operands, **op.attributes)
    context.graph.replace(op.result, new if new.type == op.result.type else build(ops.cast, new, dtype=x.tensor.dtype))
    context.graph.erase_dead([op])
    return problem
