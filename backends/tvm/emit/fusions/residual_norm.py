"""A residual sum and the norm of it, in one pass over a row."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.emit.emitter import Emitter, row_count
from graphwright.backends.tvm.emit.fusions.fusion import Fusion, is_single
from graphwright.backends.tvm.kernels.add_norm import add_layer_norm, add_rms_norm
from graphwright.ir import ops
from graphwright.ir.graph import Op


def residual_norm(op: Op) -> Fusion | None:
    """`add` → `rms_norm` or `layer_norm`, which is given; others may read the sum too, behind the norm."""
    add = op.required("x").defined_by(ops.add)
    if add is None or not is_single(*add.inputs, *op.inputs, op.result):
        return None
    if any(v.type.shape != op.result.type.shape for v in add.inputs) or any(v.weight is not None for v in add.inputs):
        return None
    return Fusion((add, op), (add.result, op.result), lambda e: _write(e, add, op))


def _write(e: Emitter, add: Op, norm: Op) -> None:
    type = norm.result.tensor
    affine = [v for v in norm.operands[1:] if v is not None]
    layer = norm.definition is ops.layer_norm
    present: dict[str, Any] = {name: norm.operand(name) is not None for name in ("weight", "bias")} if layer else {}
    total, y = e.kernel(
        add_layer_norm if layer else add_rms_norm,
        [*(e.flatten(e.value(v), type) for v in add.inputs), *map(e.value, affine)],
        [e.flat_type(type)] * 2,
        tokens=row_count(type.shape),
        size=type.shape[-1].evaluate({}),
        epsilon=norm.attributes["epsilon"],
        **present,
    )
    e.bind(add.result, e.reshape(total, type.shape))
    e.bind(norm.result, e.reshape(y, type.shape))
