"""A gated unit that reads gate and up where a packed projection left them."""

from __future__ import annotations

from graphwright.backends.tvm.emit.emitter import Emitter, row_count
from graphwright.backends.tvm.emit.fusions.fusion import Fusion, is_single, splits_rows, start_column
from graphwright.backends.tvm.kernels.glu import packed_glu
from graphwright.ir import ops
from graphwright.ir.graph import Op


def gated_columns(op: Op) -> Fusion | None:
    """`split` → `glu`, which is given and reads two results of the split."""
    gate, up = op.inputs
    split = gate.defined_by(ops.split)
    if split is None or up.owner is not split or not splits_rows(split) or not is_single(gate, up, op.result):
        return None
    if gate.type.shape != up.type.shape:
        return None
    return Fusion((op,), (op.result,), lambda e: _write(e, split, op), columns=(gate, up))


def _write(e: Emitter, split: Op, glu: Op) -> None:
    gate, up = glu.inputs
    packed, type = split.inputs[0], glu.result.tensor
    (y,) = e.kernel(
        packed_glu,
        [e.flatten(e.value(packed), packed.tensor)],
        [e.flat_type(type)],
        tokens=row_count(type.shape),
        size=type.shape[-1].evaluate({}),
        kind=glu.attributes["kind"],
        columns=packed.type.shape[-1].evaluate({}),
        gate_column=start_column(split, gate),
        up_column=start_column(split, up),
    )
    e.bind(glu.result, e.reshape(y, type.shape))
