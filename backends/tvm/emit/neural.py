# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Functions of tensor expressions are called by TVM, which has no types.
"""Emission of norms, activations and gated units."""

from typing import Any, cast

from graphwright.backends.tvm.emit.emitter import Emitter, Tensor, flat_type, row_count
from graphwright.backends.tvm.emit.pointwise import pointwise
from graphwright.backends.tvm.kernels import norms
from graphwright.backends.tvm.kernels.activation import activate, activation, softcap
from graphwright.backends.tvm.kernels.fast_math import number, tanh
from graphwright.backends.tvm.kernels.glu import glu, packed_glu
from graphwright.backends.tvm.kernels.norms import layer_norm, rms_norm
from graphwright.ir import ops
from graphwright.ir.declare import OpDef
from graphwright.ir.graph import Op, Value
from graphwright.ir.ops.neural import Activation
from graphwright.ir.types import DType


def rowwise(e: Emitter, op: Op, make: Any, arguments: list[Tensor], **parameters: Any) -> None:
    """The op's result by a kernel (x [M, size], …, y [M, size]) that takes each row of the last axis by itself."""
    type = op.result.tensor
    flat = flat_type(type.with_dtype(DType.F32))
    size = type.shape[-1].evaluate({})
    (y,) = e.kernel(make, arguments, [flat], settings=e.settings, tokens=row_count(type.shape), size=size, **parameters)
    e.computed(op.result, e.reshape(y, type.shape))


def flat(e: Emitter, value: Value) -> Tensor:
    """A value as rows of its last axis."""
    return e.flatten(e.single(value))


def emit_rms_norm(e: Emitter, op: Op) -> None:
    arguments = [flat(e, op.required("x")), e.single(op.required("weight"))]
    rowwise(e, op, rms_norm, arguments, epsilon=op.attributes["epsilon"])


def emit_layer_norm(e: Emitter, op: Op) -> None:
    affine = [v for v in (op.operand("weight"), op.operand("bias")) if v is not None]
    rowwise(
        e,
        op,
        layer_norm,
        [flat(e, op.required("x")), *map(e.single, affine)],
        epsilon=op.attributes["epsilon"],
        weight=op.operand("weight") is not None,
        bias=op.operand("bias") is not None,
    )


def emit_add_rms_norm(e: Emitter, op: Op) -> None:
    _added(e, op, norms.add_rms_norm)


def emit_add_layer_norm(e: Emitter, op: Op) -> None:
    present = {name: op.operand(name) is not None for name in ("weight", "bias")}
    _added(e, op, norms.add_layer_norm, **present)


def _added(e: Emitter, op: Op, make: Any, **parameters: Any) -> None:
    """A sum and its norm by a kernel (x [M, size], skip [M, size], …, sum [M, size], y [M, size])."""
    type = op.results[0].tensor
    made = e.kernel(
        make,
        [*(e.flatten(e.value(v)) for v in op.inputs[:2]), *map(e.value, op.inputs[2:])],
        [flat_type(type)] * 2,
        settings=e.settings,
        tokens=row_count(type.shape),
        size=type.shape[-1].evaluate({}),
        epsilon=op.attributes["epsilon"],
        **parameters,
    )
    for result, tensor in zip(op.results, made, strict=True):
        e.bind(result, e.reshape(tensor, type.shape))


def emit_gated_columns(e: Emitter, op: Op) -> None:
    (packed,), type = op.inputs, op.result.tensor
    (y,) = e.kernel(
        packed_glu,
        [e.flatten(e.value(packed))],
        [flat_type(type)],
        settings=e.settings,
        tokens=row_count(type.shape),
        size=op.attributes["size"],
        kind=op.attributes["kind"],
        columns=packed.type.shape[-1].evaluate({}),
        gate_column=op.attributes["gate"],
        up_column=op.attributes["up"],
    )
    e.bind(op.result, e.reshape(y, type.shape))


ROWS: dict[OpDef, Any] = {ops.glu: glu, ops.activation: activation, ops.softcap: softcap}
"""Of ops that are elementwise, the kernel of whole rows."""


def emit_rows(e: Emitter, op: Op) -> None:
    rowwise(e, op, ROWS[op.definition], [flat(e, v) for v in op.inputs], **op.attributes)


def emit_glu_by_loops(e: Emitter, op: Op) -> None:
    kind = cast(Activation, op.attributes["kind"])
    pointwise(e, op, lambda gate, up: activate(gate, kind) * up)


def emit_activation_by_loops(e: Emitter, op: Op) -> None:
    kind = cast(Activation, op.attributes["kind"])
    pointwise(e, op, lambda x: activate(x, kind))


def emit_softcap_by_loops(e: Emitter, op: Op) -> None:
    cap = cast(float, op.attributes["cap"])
    pointwise(e, op, lambda x: number(cap, x) * tanh(x / number(cap, x)))
