# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Functions of tensor expressions are called by TVM, which has no types.
"""Emission of ops that make or move elements without arithmetic."""

from collections.abc import Callable
from typing import Any

from graphwright.backends.tvm.emit.emitter import Emitter, type_name
from graphwright.backends.tvm.emit.pointwise import aligned
from graphwright.backends.tvm.tvm_library import te, tirx
from graphwright.ir.dims import Dim
from graphwright.ir.graph import Op
from graphwright.ir.ops.shape import as_ints, slice_bounds


def moved(e: Emitter, op: Op, element: Callable[..., Any]) -> None:
    """The op's only result: the element at an index is `element(operands, index)`."""
    shape = e.shape(op.result.type.shape)

    def compute(*tensors: Any) -> Any:
        return te.compute(shape, lambda *index: element(tensors, index), name=op.name)

    e.bind(op.result, e.te(compute, *map(e.value, op.inputs)))


def _axis(op: Op) -> int:
    axis = op.attributes["axis"]
    assert isinstance(axis, int)
    return axis % op.inputs[0].type.rank


def _dim(op: Op, name: str) -> Dim:
    value = op.attributes[name]
    assert isinstance(value, Dim)
    return value


def emit_constant(e: Emitter, op: Op) -> None:
    value, type = op.attributes["value"], op.result.tensor
    assert isinstance(value, bool | int | float)
    name = type_name(type.dtype)
    # By way of float64, as the reference goes, so that a number out of range becomes infinite.
    number = tirx.const(value, "float64" if type.dtype.is_float else name).astype(name)
    moved(e, op, lambda tensors, index: number)


def emit_iota(e: Emitter, op: Op) -> None:
    name = type_name(op.result.tensor.dtype)
    moved(e, op, lambda tensors, index: index[0].astype(name))


def emit_dim_value(e: Emitter, op: Op) -> None:
    value = e.dim(_dim(op, "value"))
    moved(e, op, lambda tensors, index: value)


def emit_reshape(e: Emitter, op: Op) -> None:
    e.bind(op.result, e.reshape(e.value(op.inputs[0]), op.result.type.shape))


def emit_transpose(e: Emitter, op: Op) -> None:
    permutation = as_ints(op.attributes["permutation"])
    moved(e, op, lambda tensors, index: tensors[0](*(index[permutation.index(i)] for i in range(len(index)))))


def emit_expand(e: Emitter, op: Op) -> None:
    shape = op.inputs[0].type.shape
    moved(e, op, lambda tensors, index: tensors[0](*aligned(index, shape)))


def emit_slice(e: Emitter, op: Op) -> None:
    axis, step = _axis(op), op.attributes["step"]
    assert isinstance(step, int)
    start, _ = slice_bounds(op.inputs[0].type.shape[axis], _dim(op, "start"), _dim(op, "stop"))
    first = e.dim(start)

    def element(tensors: Any, index: Any) -> Any:
        return tensors[0](*index[:axis], first + index[axis] * step, *index[axis + 1 :])

    moved(e, op, element)


def emit_concat(e: Emitter, op: Op) -> None:
    axis = _axis(op)
    lengths = [e.dim(v.type.shape[axis]) for v in op.inputs]

    def element(tensors: Any, index: Any) -> Any:
        place, chosen = index[axis], None
        pieces: list[tuple[Any, Any]] = []
        for tensor, length in zip(tensors, lengths, strict=True):
            pieces.append((place < length, tensor(*index[:axis], place, *index[axis + 1 :])))
            place = place - length
        for inside, value in reversed(pieces):
            chosen = value if chosen is None else tirx.if_then_else(inside, value, chosen)
        return chosen

    moved(e, op, element)


def emit_split(e: Emitter, op: Op) -> None:
    axis, start = _axis(op), 0
    for result in op.results:
        shape, first = e.shape(result.type.shape), start
        start += result.tensor.shape[axis].evaluate({})
        if not result.uses and not e.graph.is_output(result):
            continue

        def compute(x: Any, shape: list[Any] = shape, first: int = first) -> Any:
            def element(*index: Any) -> Any:
                return x(*index[:axis], index[axis] + first, *index[axis + 1 :])

            return te.compute(shape, element, name="split")

        e.bind(result, e.te(compute, e.value(op.inputs[0])))


def emit_split_heads(e: Emitter, op: Op) -> None:
    batch, heads, sequence, size = op.result.type.shape
    parts = e.reshape(e.value(op.inputs[0]), (batch, sequence, heads, size))
    e.bind(op.result, e.permuted(parts, [0, 2, 1, 3]))


def emit_merge_heads(e: Emitter, op: Op) -> None:
    merged = e.permuted(e.value(op.inputs[0]), [0, 2, 1, 3])
    e.bind(op.result, e.reshape(merged, op.result.type.shape))


def emit_bitcast(e: Emitter, op: Op) -> None:
    e.bind(op.result, e.viewed(e.value(op.inputs[0]), op.result.tensor))


def emit_ring_positions(e: Emitter, op: Op) -> None:
    capacity = op.attributes["capacity"]
    assert isinstance(capacity, int)

    def element(tensors: Any, index: Any) -> Any:
        last = tensors[0](index[0]) - 1
        return last - tirx.floormod(last - index[1], tirx.const(capacity, "int64"))

    moved(e, op, element)
