"""Which ops of a graph are written in groups."""

from __future__ import annotations

from collections.abc import Callable

from graphwright.backends.tvm.emit.fusions.attention_input import attention_input
from graphwright.backends.tvm.emit.fusions.fusion import Fusion
from graphwright.backends.tvm.emit.fusions.gated_columns import gated_columns
from graphwright.backends.tvm.emit.fusions.merged_attention import merged_attention
from graphwright.backends.tvm.emit.fusions.residual_norm import residual_norm
from graphwright.ir import ops
from graphwright.ir.declare import OpDef
from graphwright.ir.graph import Graph, Op

FINDERS: dict[OpDef, Callable[[Op], Fusion | None]] = {
    ops.split: attention_input,
    ops.glu: gated_columns,
    ops.merge_heads: merged_attention,
    ops.rms_norm: residual_norm,
    ops.layer_norm: residual_norm,
}
"""Of an op by which a group is known, what finds the group around it."""


def find_fusions(graph: Graph) -> dict[Op, Fusion]:
    """The group of each op that has one."""
    order = {op: place for place, op in enumerate(graph)}
    found: dict[Op, Fusion] = {}
    for op in order:
        finder = FINDERS.get(op.definition)
        fusion = None if finder is None else finder(op)
        if fusion is None or any(member in found for member in fusion.members):
            continue
        fusion = fusion.ordered(order)
        if fusion.fits(graph, order):
            found |= dict.fromkeys(fusion.members, fusion)
    return found
