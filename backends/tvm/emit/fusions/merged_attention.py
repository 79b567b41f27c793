"""Attention that writes its result with the heads of a token side by side."""

from __future__ import annotations

from graphwright.backends.tvm.emit.attention import attended
from graphwright.backends.tvm.emit.fusions.fusion import Fusion, is_single
from graphwright.ir import ops
from graphwright.ir.graph import Op


def merged_attention(op: Op) -> Fusion | None:
    """`attention` → `merge_heads`, which is given."""
    before = op.inputs[0].defined_by(ops.attention)
    if before is None or not is_single(op.result):
        return None
    return Fusion((before, op), (op.result,), lambda e: attended(e, before, op.result, merged=True))
