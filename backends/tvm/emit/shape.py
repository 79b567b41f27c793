"""Emission of ops that only move numbers, or count."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.element_types import TVM_TYPES
from graphwright.backends.tvm.emit.emitter import Emitter
from graphwright.backends.tvm.emit.table import emits
from graphwright.backends.tvm.tvm_library import relax
from graphwright.ir import ops
from graphwright.ir.dims import Dim
from graphwright.ir.graph import Op
from graphwright.ir.types import DType


def reshaped(e: Emitter, x: Any, op: Op) -> None:
    """The op's result is x in another shape."""
    e.result(op, relax.op.reshape(x, e.shape(op.result.type.shape)))


@emits(ops.reshape)
def _(e: Emitter, op: Op) -> None:
    reshaped(e, e.value(op.inputs[0]), op)


@emits(ops.iota)
def _(e: Emitter, op: Op) -> None:
    dtype, size = op.attributes["dtype"], op.attributes["size"]
    assert isinstance(dtype, DType)
    assert isinstance(size, (Dim, int))
    e.result(op, relax.op.arange(0, e.dim(Dim.of(size)), 1, TVM_TYPES[dtype]))


@emits(ops.transpose)
def _(e: Emitter, op: Op) -> None:
    permutation = op.attributes["permutation"]
    assert isinstance(permutation, tuple)
    e.result(op, relax.op.permute_dims(e.value(op.inputs[0]), list(permutation)))


@emits(ops.split)
def _(e: Emitter, op: Op) -> None:
    axis, start = op.attributes["axis"], 0
    assert isinstance(axis, int)
    x = e.value(op.inputs[0])
    for result in op.results:
        size = result.tensor.shape[axis].evaluate({})
        e.bind(result, e.emit(relax.op.strided_slice(x, [axis], [start], [start + size])))
        start += size


@emits(ops.split_heads)
def _(e: Emitter, op: Op) -> None:
    batch, heads, sequence, size = op.result.type.shape
    if sequence.constant == 1:
        return reshaped(e, e.value(op.inputs[0]), op)
    parts = relax.op.reshape(e.value(op.inputs[0]), e.shape((batch, sequence, heads, size)))
    return e.result(op, relax.op.permute_dims(parts, [0, 2, 1, 3]))


@emits(ops.merge_heads)
def _(e: Emitter, op: Op) -> None:
    x = e.value(op.inputs[0])
    if op.inputs[0].type.shape[2].constant != 1:
        x = e.emit(relax.op.permute_dims(x, [0, 2, 1, 3]))
    reshaped(e, x, op)
