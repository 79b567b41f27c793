"""Emission of arithmetic, comparisons, logic, casts and choice."""

from graphwright.backends.onnx.element_types import ONNX_TYPES
from graphwright.backends.onnx.emit.emitter import Emission, Emitter, single_nodes
from graphwright.ir import ops
from graphwright.ir.declare import OpDef
from graphwright.ir.graph import Op
from graphwright.ir.types import DType

NODES: dict[OpDef, str] = {
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
"""Ops that are one node with the same operands and no attributes."""


def _dtype(op: Op) -> DType:
    return op.inputs[0].tensor.dtype


def _numbers_or_bools(number: str, boolean: str) -> Emission:
    def emit(e: Emitter, op: Op) -> None:
        e.results(op, boolean if _dtype(op) is DType.BOOL else number, *e.operands(op))

    return emit


def emit_ne(e: Emitter, op: Op) -> None:
    e.results(op, "Not", e.node("Equal", *e.operands(op)))


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


def emit_rsqrt(e: Emitter, op: Op) -> None:
    e.results(op, "Reciprocal", e.node("Sqrt", *e.operands(op)))


def emit_div(e: Emitter, op: Op) -> None:
    x, y = e.operands(op)
    if _dtype(op).is_integer:
        # ONNX truncates; without its remainder (which has the divisor's sign) the division is exact.
        x = e.node("Sub", x, e.node("Mod", x, y))
    e.results(op, "Div", x, y)


def emit_remainder(e: Emitter, op: Op) -> None:
    x, y = e.operands(op)
    if _dtype(op).is_integer:
        e.results(op, "Mod", x, y)
    else:
        e.results(op, "Sub", x, e.node("Mul", y, e.node("Floor", e.node("Div", x, y))))


def emit_cast(e: Emitter, op: Op) -> None:
    dtype = op.attribute("dtype", DType)
    e.results(op, "Cast", *e.operands(op), to=ONNX_TYPES[dtype])


def emit_where(e: Emitter, op: Op) -> None:
    condition, x, y = e.operands(op)
    if op.results[0].tensor.dtype is DType.BOOL:
        chosen = e.node("And", condition, x)
        e.results(op, "Or", chosen, e.node("And", e.node("Not", condition), y))
    else:
        e.results(op, "Where", condition, x, y)


EMISSIONS: dict[OpDef, Emission] = {
    **single_nodes(NODES),
    ops.ne: emit_ne,
    ops.log1p: emit_log1p,
    ops.rsqrt: emit_rsqrt,
    ops.div: emit_div,
    ops.remainder: emit_remainder,
    ops.cast: emit_cast,
    ops.where: emit_where,
    ops.add: _numbers_or_bools("Add", "Or"),
    ops.mul: _numbers_or_bools("Mul", "And"),
    ops.maximum: _numbers_or_bools("Max", "Or"),
    ops.minimum: _numbers_or_bools("Min", "And"),
}
