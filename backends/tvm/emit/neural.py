# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Functions of tensor expressions are called by TVM, which has no types.
"""Emission of products, norms, activations and gated units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from graphwright.backends.tvm.emit.emitter import Emitter, Tensor, flat_type, row_count
from graphwright.backends.tvm.emit.matrix import linear_of_tensors
from graphwright.backends.tvm.emit.pointwise import pointwise
from graphwright.backends.tvm.emit.quantized import float_product, quantized_product
from graphwright.backends.tvm.emit.table import emits
from graphwright.backends.tvm.kernels import add_norm
from graphwright.backends.tvm.kernels.activation import activation, softcap
from graphwright.backends.tvm.kernels.activations import activate
from graphwright.backends.tvm.kernels.fast_math import number, tanh
from graphwright.backends.tvm.kernels.glu import glu, packed_glu
from graphwright.backends.tvm.kernels.layer_norm import layer_norm
from graphwright.backends.tvm.kernels.rms_norm import rms_norm
from graphwright.ir import ops
from graphwright.ir.dialects.cpu.columns import gated_columns
from graphwright.ir.dialects.cpu.norms import add_layer_norm, add_rms_norm
from graphwright.ir.errors import UnsupportedError
from graphwright.ir.graph import Op, Value
from graphwright.ir.ops.neural import Activation
from graphwright.ir.types import DType, QuantizedType


def rowwise(e: Emitter, op: Op, make: Any, arguments: list[Tensor], **parameters: Any) -> None:
    """The op's result by a kernel (x [M, size], …, y [M, size]) that takes each row of the last axis by itself."""
    type = op.result.tensor
    size = type.shape[-1].constant
    if size is None:
        raise UnsupportedError(f"the last axis of {type} has no fixed length")
    rows = row_count(type.shape)
    flat = flat_type(type.with_dtype(DType.F32))
    (y,) = e.kernel(make, arguments, [flat], tokens=rows, size=size, **parameters)
    e.computed(op.result, e.reshape(y, type.shape))


def flat(e: Emitter, value: Value) -> Tensor:
    """A value as rows of its last axis."""
    return e.flatten(e.single(value))


@emits(ops.linear)
def emit_linear(e: Emitter, op: Op) -> None:
    weight = op.required("weight")
    stored = weight.weight
    if stored is None or op.result.tensor.dtype is DType.F64:
        linear_of_tensors(e, op)
    elif isinstance(weight.type, QuantizedType):
        quantized_product(e, op, stored)
    else:
        float_product(e, op, stored)


@emits(ops.rms_norm)
def emit_rms_norm(e: Emitter, op: Op) -> None:
    arguments = [flat(e, op.required("x")), e.single(op.required("weight"))]
    rowwise(e, op, rms_norm, arguments, epsilon=op.attributes["epsilon"])


@emits(ops.layer_norm)
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


@emits(add_rms_norm)
def emit_add_rms_norm(e: Emitter, op: Op) -> None:
    _added(e, op, add_norm.add_rms_norm)


@emits(add_layer_norm)
def emit_add_layer_norm(e: Emitter, op: Op) -> None:
    present = {name: op.operand(name) is not None for name in ("weight", "bias")}
    _added(e, op, add_norm.add_layer_norm, **present)


def _added(e: Emitter, op: Op, make: Any, **parameters: Any) -> None:
    """A sum and its norm by a kernel (x [M, size], skip [M, size], …, sum [M, size], y [M, size])."""
    type = op.results[0].tensor
    made = e.kernel(
        make,
        [*(e.flatten(e.value(v)) for v in op.inputs[:2]), *map(e.value, op.inputs[2:])],
        [flat_type(type)] * 2,
        tokens=row_count(type.shape),
        size=type.shape[-1].evaluate({}),
        epsilon=op.attributes["epsilon"],
        **parameters,
    )
    for result, tensor in zip(op.results, made, strict=True):
        e.bind(result, e.reshape(tensor, type.shape))


@emits(gated_columns)
def emit_gated_columns(e: Emitter, op: Op) -> None:
    (packed,), type = op.inputs, op.result.tensor
    (y,) = e.kernel(
        packed_glu,
        [e.flatten(e.value(packed))],
        [flat_type(type)],
        tokens=row_count(type.shape),
        size=op.attributes["size"],
        kind=op.attributes["kind"],
        columns=packed.type.shape[-1].evaluate({}),
        gate_column=op.attributes["gate"],
        up_column=op.attributes["up"],
    )
    e.bind(op.result, e.reshape(y, type.shape))


@emits(ops.glu)
def emit_glu(e: Emitter, op: Op) -> None:
    kind = cast(Activation, op.attributes["kind"])
    _elementwise(e, op, glu, lambda gate, up: activate(gate, kind) * up, kind=kind)


@emits(ops.activation)
def emit_activation(e: Emitter, op: Op) -> None:
    kind = cast(Activation, op.attributes["kind"])
    _elementwise(e, op, activation, lambda x: activate(x, kind), kind=kind)


@emits(ops.softcap)
def emit_softcap(e: Emitter, op: Op) -> None:
    cap = cast(float, op.attributes["cap"])
    _elementwise(e, op, softcap, lambda x: number(cap, x) * tanh(x / number(cap, x)), cap=cap)


def _elementwise(e: Emitter, op: Op, make: Any, function: Callable[..., Any], **parameters: Any) -> None:
    """The op's result by a kernel of rows; where the last axis has no fixed length, element by element."""
    if op.result.type.shape and op.result.type.shape[-1].constant is not None:
        rowwise(e, op, make, [flat(e, v) for v in op.inputs], **parameters)
    elif op.result.tensor.dtype is DType.F64:
        raise UnsupportedError("its kernel computes f32, this is f64")
    else:
        pointwise(e, op, function)
