"""Emission of ops that pick by index."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.element_types import TVM_TYPES
from graphwright.backends.tvm.emit.emitter import Emitter, row_count
from graphwright.backends.tvm.emit.table import emits
from graphwright.backends.tvm.kernels.float_embedding import embedding_rows
from graphwright.backends.tvm.packing.floats import packed_floats
from graphwright.backends.tvm.tvm_library import relax, te
from graphwright.ir import ops
from graphwright.ir.dims import product
from graphwright.ir.graph import Op
from graphwright.ir.types import DType


@emits(ops.embedding)
def _(e: Emitter, op: Op) -> None:
    table, ids = op.required("weight"), op.required("indices")
    shape = op.result.type.shape
    if table.weight is None or op.result.tensor.dtype is not DType.F32:
        e.result(op, relax.op.take(e.value(table), e.value(ids), axis=0, mode="fast"))
        return
    # A table that is multiplied too is stored once, as the product reads it.
    tied = any(op.definition is ops.linear for op, _ in table.uses)
    held = e.packed(table.weight, "packed", packed_floats(table.weight.expression)) if tied else e.value(table)
    rows, columns = (d.evaluate({}) for d in table.tensor.shape)
    (y,) = e.kernel(
        embedding_rows,
        [e.reshape(e.value(ids), (product(ids.type.shape),)), held],
        [e.flat_type(op.result.tensor)],
        tokens=row_count(shape),
        rows=rows,
        columns=columns,
        weight_dtype=TVM_TYPES[table.tensor.dtype],
        packed=tied,
    )
    e.bind(op.result, e.reshape(y, shape))


@emits(ops.take_tokens)
def _(e: Emitter, op: Op) -> None:
    def picked(x: Any, positions: Any) -> Any:
        shape = (x.shape[0], positions.shape[1], x.shape[2])
        return te.compute(shape, lambda b, n, i: x[b, positions[b, n], i], name="take_tokens")

    e.bind(op.result, e.te(picked, *map(e.value, op.inputs)))
