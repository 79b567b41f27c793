# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Functions of tensor expressions are called by TVM, which has no types.
"""Emission of ops that pick by index."""

from typing import Any

from graphwright.backends.element_types import MANIFEST_NAMES
from graphwright.backends.tvm.emit.emitter import Emitter, Tensor, flat_type, row_count, type_name
from graphwright.backends.tvm.emit.shape import moved
from graphwright.backends.tvm.emit.stored_weights import paired
from graphwright.backends.tvm.kernels.bf16_pairs import PAIR
from graphwright.backends.tvm.kernels.float_embedding import embedding_rows
from graphwright.backends.tvm.tvm_library import te, tirx
from graphwright.ir.dims import product
from graphwright.ir.graph import Op


def emit_embedding(e: Emitter, op: Op) -> None:
    moved(e, op, lambda tensors, index: tensors[0](within(tensors[1](*index[:-1]), tensors[0].shape[0]), index[-1]))


def emit_embedding_of_rows(e: Emitter, op: Op) -> None:
    _embedding(e, op, [e.value(op.required("weight"))], _stored_type(op), packed=False)


def emit_embedding_of_panels(e: Emitter, op: Op) -> None:
    _embedding(e, op, e.laid_out(op, "weight"), _stored_type(op), packed=True)


def emit_embedding_of_pairs(e: Emitter, op: Op) -> None:
    _embedding(e, op, [paired(e, op)], PAIR, packed=True)


def _stored_type(op: Op) -> str:
    return MANIFEST_NAMES[op.required("weight").tensor.dtype]


def _embedding(e: Emitter, op: Op, held: list[Tensor], weight_dtype: str, *, packed: bool) -> None:
    table, ids = op.required("weight"), op.required("indices")
    shape = op.result.type.shape
    rows, columns = (d.evaluate({}) for d in table.tensor.shape)
    (y,) = e.kernel(
        embedding_rows,
        [e.reshape(e.value(ids), (product(ids.type.shape),)), *held],
        [flat_type(op.result.tensor)],
        settings=e.settings,
        tokens=row_count(shape),
        rows=rows,
        columns=columns,
        weight_dtype=weight_dtype,
        packed=packed,
    )
    e.bind(op.result, e.reshape(y, shape))


def emit_take_tokens(e: Emitter, op: Op) -> None:
    def element(tensors: Any, index: Any) -> Any:
        x, positions = tensors
        return x(index[0], within(positions(index[0], index[1]), x.shape[1]), index[2])

    moved(e, op, element)


def within(index: Any, length: Any) -> Any:
    """An index that is read at: one out of range would leave the tensor's memory, and reads its edge instead."""
    return tirx.max(tirx.min(index, length - 1), tirx.const(0, "int64"))


def _axis(op: Op) -> int:
    axis = op.attributes["axis"]
    assert isinstance(axis, int)
    return axis % op.inputs[0].type.rank


def emit_gather(e: Emitter, op: Op) -> None:
    axis, rank = _axis(op), op.inputs[1].type.rank

    def element(tensors: Any, index: Any) -> Any:
        x, indices = tensors
        picked = within(indices(*index[axis : axis + rank]), x.shape[axis])
        return x(*index[:axis], picked, *index[axis + rank :])

    moved(e, op, element)


def emit_gather_elements(e: Emitter, op: Op) -> None:
    axis = _axis(op)

    def element(tensors: Any, index: Any) -> Any:
        x, indices = tensors
        return x(*index[:axis], within(indices(*index), x.shape[axis]), *index[axis + 1 :])

    moved(e, op, element)


def emit_scatter_elements(e: Emitter, op: Op) -> None:
    """Each element looks for its updates: none is written twice, and threads need not share the work by index."""
    axis, adds = _axis(op), op.attributes["reduction"] == "add"
    type, indices = op.result.tensor, op.inputs[1].tensor
    shape, dtype = e.shape(type.shape), type_name(type.dtype)
    lengths = e.shape(indices.shape)

    def latest(x: Any, y: Any) -> Any:
        return tirx.Or(x[0], y[0]), tirx.Select(y[0], y[1], x[1])

    def nothing(*dtypes: Any) -> Any:
        return tirx.const(False, "bool"), tirx.const(0, dtypes[1])

    last = te.comm_reducer(latest, nothing, name="latest")

    def compute(x: Any, indices: Any, updates: Any) -> Any:
        place = te.reduce_axis((0, lengths[axis]), "place")

        def found(*index: Any) -> tuple[Any, Any]:
            at = (*index[:axis], place.var, *index[axis + 1 :])
            inside = [i < n for a, (i, n) in enumerate(zip(index, lengths, strict=True)) if a != axis]
            here = tirx.EQ(
                tirx.if_then_else(tirx.all(*inside), indices(*at), -1) if inside else indices(*at), index[axis]
            )
            return here, tirx.if_then_else(here, updates(*at), tirx.const(0, updates.dtype))

        if adds:
            total = te.compute(shape, lambda *i: te.sum(found(*i)[1], axis=place), name="found")
            return te.compute(shape, lambda *i: (x(*i) + total(*i)).astype(dtype), name="scatter")
        any_, update = te.compute(shape, lambda *i: last(found(*i), axis=place), name="found")
        return te.compute(shape, lambda *i: tirx.Select(any_(*i), update(*i), x(*i)).astype(dtype), name="scatter")

    e.bind(op.result, e.te(compute, *map(e.wide, op.inputs)))
