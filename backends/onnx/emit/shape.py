"""Emission of the ops that make or move elements."""

from graphwright.backends.onnx.element_types import ONNX_TYPES
from graphwright.backends.onnx.emit.emitter import Emission, Emitter
from graphwright.ir import ops
from graphwright.ir.declare import OpDef
from graphwright.ir.dims import Dim
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.types import DType


def emit_constant(e: Emitter, op: Op) -> None:
    type, value = op.results[0].tensor, op.attribute("value", bool, int, float)
    if not type.shape:
        e.results(op, "Identity", e.filled(value, type.dtype))
    else:
        e.results(op, "Expand", e.filled(value, type.dtype), e.shape(type.shape))


def emit_iota(e: Emitter, op: Op) -> None:
    size, dtype = op.attribute("size", Dim), op.results[0].tensor.dtype
    if size.constant is not None:
        e.results(op, "Identity", e.constant(torch.arange(size.constant, dtype=torch_dtype(dtype)), "iota"))
        return
    bounds = (e.filled(0, DType.I64), e.scalar(size), e.filled(1, DType.I64))
    if dtype is DType.I64:
        e.results(op, "Range", *bounds)
    else:
        e.results(op, "Cast", e.node("Range", *bounds), to=ONNX_TYPES[dtype])


def emit_dim_value(e: Emitter, op: Op) -> None:
    e.results(op, "Identity", e.scalar(op.attribute("value", Dim)))


def emit_reshape(e: Emitter, op: Op) -> None:
    source = op.inputs[0].tensor.shape
    target: list[Dim | int] = []
    for axis, dim in enumerate(op.attribute("shape", tuple[Dim, ...])):
        same = axis < len(source) and source[axis] is dim and dim.constant is None
        target.append(0 if same else dim)
    unknown = [axis for axis, dim in enumerate(target) if isinstance(dim, Dim) and dim.constant is None]
    if len(unknown) == 1:
        target[unknown[0]] = -1
    e.results(op, "Reshape", *e.operands(op), e.shape(target))


def emit_transpose(e: Emitter, op: Op) -> None:
    e.results(op, "Transpose", *e.operands(op), perm=list(op.attribute("permutation", tuple[int, ...])))


def emit_expand(e: Emitter, op: Op) -> None:
    source, target = op.inputs[0].tensor.shape, op.attribute("shape", tuple[Dim, ...])
    new = len(target) - len(source)
    needed = [1 if i >= new and source[i - new] is dim else dim for i, dim in enumerate(target)]
    e.results(op, "Expand", *e.operands(op), e.shape(needed))


def emit_slice(e: Emitter, op: Op) -> None:
    bounds = [
        e.dim(op.attribute("start", Dim)),
        e.dim(op.attribute("stop", Dim)),
        e.integers(op.attribute("axis", int)),
    ]
    e.results(op, "Slice", *e.operands(op), *bounds, e.integers(op.attribute("step", int)))


def emit_concat(e: Emitter, op: Op) -> None:
    e.results(op, "Concat", *e.operands(op), axis=op.attribute("axis", int))


def emit_split(e: Emitter, op: Op) -> None:
    sizes = op.attribute("sizes", tuple[int, ...])
    e.results(op, "Split", *e.operands(op), e.integers(*sizes), axis=op.attribute("axis", int))


def emit_split_heads(e: Emitter, op: Op) -> None:
    split = e.node("Reshape", *e.operands(op), e.integers(0, 0, op.attribute("heads", int), -1))
    e.results(op, "Transpose", split, perm=[0, 2, 1, 3])


def emit_merge_heads(e: Emitter, op: Op) -> None:
    tokens_first = e.node("Transpose", *e.operands(op), perm=[0, 2, 1, 3])
    e.results(op, "Reshape", tokens_first, e.integers(0, 0, -1))


EMISSIONS: dict[OpDef, Emission] = {
    ops.constant: emit_constant,
    ops.iota: emit_iota,
    ops.dim_value: emit_dim_value,
    ops.reshape: emit_reshape,
    ops.transpose: emit_transpose,
    ops.expand: emit_expand,
    ops.slice: emit_slice,
    ops.concat: emit_concat,
    ops.split: emit_split,
    ops.split_heads: emit_split_heads,
    ops.merge_heads: emit_merge_heads,
}
