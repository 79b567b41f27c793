# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Functions of tensor expressions are called by TVM, which has no types.
"""Emission of elementwise ops: arithmetic, comparisons, logic, casts and choice."""

from collections.abc import Callable
from typing import Any

from graphwright.backends.tvm.emit import numbers
from graphwright.backends.tvm.emit.emitter import Emitter, type_name
from graphwright.backends.tvm.emit.pointwise import computed, pointwise
from graphwright.backends.tvm.kernels.integer_power import integer_power
from graphwright.backends.tvm.tvm_library import tirx
from graphwright.ir import ops
from graphwright.ir.declare import OpDef
from graphwright.ir.dialects.cpu.memory import copy
from graphwright.ir.dims import product
from graphwright.ir.graph import Op
from graphwright.ir.types import DType

FUNCTIONS: dict[OpDef, Callable[..., Any]] = {
    ops.add: numbers.add,
    ops.sub: lambda x, y: x - y,
    ops.mul: numbers.multiply,
    ops.div: numbers.divide,
    ops.remainder: numbers.remainder,
    ops.maximum: numbers.maximum,
    ops.minimum: numbers.minimum,
    ops.logical_and: tirx.And,
    ops.logical_or: tirx.Or,
    ops.logical_not: tirx.Not,
    ops.lt: lambda x, y: x < y,
    ops.le: lambda x, y: x <= y,
    ops.gt: lambda x, y: x > y,
    ops.ge: lambda x, y: x >= y,
    ops.eq: tirx.EQ,
    ops.ne: numbers.not_equal,
    ops.neg: lambda x: -x,
    ops.abs: tirx.abs,
    ops.exp: numbers.exp,
    ops.log: tirx.log,
    ops.log1p: tirx.log1p,
    ops.sqrt: tirx.sqrt,
    ops.rsqrt: lambda x: numbers.constant(1, x) / tirx.sqrt(x),
    ops.reciprocal: lambda x: numbers.constant(1, x) / x,
    ops.sin: tirx.sin,
    ops.cos: tirx.cos,
    ops.tanh: numbers.tanh,
    ops.sigmoid: numbers.sigmoid,
    ops.erf: numbers.erf,
    ops.floor: tirx.floor,
    ops.where: tirx.Select,
    ops.pow: tirx.pow,
    copy: lambda x: x,
}
"""Ops, and what they compute of one element of each operand."""


def emit_elementwise(e: Emitter, op: Op) -> None:
    pointwise(e, op, FUNCTIONS[op.definition])


def emit_integer_power(e: Emitter, op: Op) -> None:
    type = op.result.tensor
    count = (product(type.shape),)
    operands = [e.reshape(computed(e, "expand", lambda x: x, [v], type), count) for v in op.inputs]
    (z,) = e.kernel(integer_power, operands, [type.with_shape(*count)], element=type_name(type.dtype))
    e.bind(op.result, e.reshape(z, type.shape))


def emit_cast(e: Emitter, op: Op) -> None:
    dtype = op.attributes["dtype"]
    assert isinstance(dtype, DType)
    name = type_name(dtype)
    pointwise(e, op, lambda x: numbers.converted(x, name))
