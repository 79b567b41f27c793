"""Emission of reductions, softmax and running sums."""

from graphwright.backends.onnx.element_types import ONNX_TYPES
from graphwright.backends.onnx.emit.emitter import Emission, Emitter
from graphwright.ir import ops
from graphwright.ir.declare import OpDef
from graphwright.ir.graph import Op
from graphwright.ir.types import DType


def _axes(op: Op) -> tuple[int, ...]:
    return op.attribute("axes", tuple[int, ...])


def _reduction(kind: str) -> Emission:
    def emit(e: Emitter, op: Op) -> None:
        e.results(op, kind, *e.operands(op), e.integers(*_axes(op)), keepdims=int(op.attribute("keepdims", bool)))

    return emit


def emit_sum(e: Emitter, op: Op) -> None:
    (x,) = e.operands(op)
    if op.inputs[0].tensor.dtype is DType.BOOL:
        x = e.node("Cast", x, to=ONNX_TYPES[DType.I64])
    e.results(op, "ReduceSum", x, e.integers(*_axes(op)), keepdims=int(op.attribute("keepdims", bool)))


def emit_var(e: Emitter, op: Op) -> None:
    (x,), axes = e.operands(op), e.integers(*_axes(op))
    centred = e.node("Sub", x, e.node("ReduceMean", x, axes, keepdims=1))
    squares = e.node("Mul", centred, centred)
    e.results(op, "ReduceMean", squares, axes, keepdims=int(op.attribute("keepdims", bool)))


def emit_softmax(e: Emitter, op: Op) -> None:
    e.results(op, "Softmax", *e.operands(op), axis=op.attribute("axis", int))


def emit_cumsum(e: Emitter, op: Op) -> None:
    (x,), axis = e.operands(op), op.attribute("axis", int)
    if op.inputs[0].tensor.dtype is DType.BOOL:
        x = e.node("Cast", x, to=ONNX_TYPES[DType.I64])
    e.results(op, "CumSum", x, e.filled(axis, DType.I64))


EMISSIONS: dict[OpDef, Emission] = {
    ops.sum: emit_sum,
    ops.var: emit_var,
    ops.softmax: emit_softmax,
    ops.cumsum: emit_cumsum,
    ops.mean: _reduction("ReduceMean"),
    ops.amax: _reduction("ReduceMax"),
    ops.amin: _reduction("ReduceMin"),
    ops.any: _reduction("ReduceMax"),
    ops.all: _reduction("ReduceMin"),
}
