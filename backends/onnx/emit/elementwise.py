"""Emission of arithmetic, comparisons, logic, casts and choice."""

from __future__ import annotations

from graphwright.backends.onnx.element_types import ONNX_TYPES
from graphwright.backends.onnx.emit.emitter import Emitter
from graphwright.backends.onnx.emit.table import Emission, emits, emits_node
from graphwright.ir import ops
from graphwright.ir.graph import Op
from graphwright.ir.types import DType

emits_node(
    {
        ops.sub: "Sub",
        ops.pow: "Pow",
        ops.logical_and: "And",
        ops.logical_or: "Or",
        ops.lt: "Less",
        ops.le: "LessOrEqual",
        ops.gt: "Greater",
        ops.ge: "GreaterOrEqual",
        ops.eq: "Equal",
        ops.neg: "Neg",
        ops.abs: "Abs",
        ops.logical_not: "Not",
        ops.exp: "Exp",
        ops.log: "Log",
        ops.sqrt: "Sqrt",
        ops.reciprocal: "Reciprocal",
        ops.sin: "Sin",
        ops.cos: "Cos",
        ops.tanh: "Tanh",
        ops.sigmoid: "Sigmoid",
        ops.erf: "Erf",
        ops.floor: "Floor",
    }
)


def _dtype(op: Op) -> DType:
    return op.inputs[0].tensor.dtype


def _numbers_or_bools(number: str, boolean: str) -> Emission:
    def emit(e: Emitter, op: Op) -> None:
        e.results(op, boolean if _dtype(op) is DType.BOOL else number, *e.operands(op))

    return emit


emits(ops.add)(_numbers_or_bools("Add", "Or"))
emits(ops.mul)(_numbers_or_bools("Mul", "And"))
emits(ops.maximum)(_numbers_or_bools("Max", "Or"))
emits(ops.minimum)(_numbers_or_bools("Min", "And"))


@emits(ops.ne)
def emit_ne(e: Emitter, op: Op) -> None:
    e.results(op, "Not", e.node("Equal", *e.operands(op)))


@emits(ops.log1p)
def emit_log1p(e: Emitter, op: Op) -> None:
    # What 1 + x rounds off makes the logarithm of small x wrong; the sum's own distance from 1 shows by how much
    # (Kahan; Goldberg 1991, theorem 4). The two ends, where that distance is 0 or no longer apart, stand alone.
    (x,), one = e.operands(op), e.filled(1.0, _dtype(op))
    total = e.node("Add", x, one)
    distance = e.node("Sub", total, one)
    logarithm = e.node("Log", total)
    corrected = e.node("Mul", logarithm, e.node("Div", x, distance))
    large = e.node("Where", e.node("Equal", total, distance), logarithm, corrected)
    e.results(op, "Where", e.node("Equal", distance, e.filled(0.0, _dtype(op))), x, large)


@emits(ops.rsqrt)
def emit_rsqrt(e: Emitter, op: Op) -> None:
    e.results(op, "Reciprocal", e.node("Sqrt", *e.operands(op)))


@emits(ops.div)
def emit_div(e: Emitter, op: Op) -> None:
    x, y = e.operands(op)
    if _dtype(op).is_integer:
        # ONNX truncates; without its remainder (which has the divisor's sign) the division is exact.
        x = e.node("Sub", x, e.node("Mod", x, y))
    e.results(op, "Div", x, y)


@emits(ops.remainder)
def emit_remainder(e: Emitter, op: Op) -> None:
    x, y = e.operands(op)
    if _dtype(op).is_integer:
        e.results(op, "Mod", x, y)
    else:
        e.results(op, "Sub", x, e.node("Mul", y, e.node("Floor", e.node("Div", x, y))))


@emits(ops.cast)
def emit_cast(e: Emitter, op: Op) -> None:
    dtype = op.attribute("dtype", DType)
    e.results(op, "Cast", *e.operands(op), to=ONNX_TYPES[dtype])


@emits(ops.where)
def emit_where(e: Emitter, op: Op) -> None:
    condition, x, y = e.operands(op)
    if op.results[0].tensor.dtype is DType.BOOL:
        chosen = e.node("And", condition, x)
        e.results(op, "Or", chosen, e.node("And", e.node("Not", condition), y))
    else:
        e.results(op, "Where", condition, x, y)
