"""Emission of the ops that pick elements by index, and of the cache update."""

from graphwright.backends.onnx.emit.emitter import Emission, Emitter, single_nodes
from graphwright.ir import ops
from graphwright.ir.declare import OpDef
from graphwright.ir.dialects.ort.operators import as_cache, gather_ring
from graphwright.ir.graph import Op

NODES: dict[OpDef, str] = {ops.embedding: "Gather", ops.kv_read: "Identity", as_cache: "Identity"}
"""Ops that are one node with the same operands and no attributes."""


def emit_gather(e: Emitter, op: Op) -> None:
    e.results(op, "Gather", *e.operands(op), axis=op.attribute("axis", int))


def emit_gather_elements(e: Emitter, op: Op) -> None:
    e.results(op, "GatherElements", *e.operands(op), axis=op.attribute("axis", int))


def emit_scatter_elements(e: Emitter, op: Op) -> None:
    axis, reduction = op.attribute("axis", int), op.attribute("reduction", str)
    e.results(op, "ScatterElements", *e.operands(op), axis=axis, reduction=reduction)


def emit_topk(e: Emitter, op: Op) -> None:
    (x,), axis, largest = e.operands(op), op.attribute("axis", int), op.attribute("largest", bool)
    e.results(op, "TopK", x, e.integers(op.attribute("k", int)), axis=axis, largest=int(largest), sorted=1)


def emit_take_tokens(e: Emitter, op: Op) -> None:
    x, positions = e.operands(op)
    e.results(op, "GatherND", x, e.node("Unsqueeze", positions, e.integers(-1)), batch_dims=1)


def emit_gather_ring(e: Emitter, op: Op) -> None:
    x, index = e.operands(op)
    e.results(op, "GatherND", x, e.node("Unsqueeze", index, e.integers(-1)), batch_dims=2)


def emit_kv_append(e: Emitter, op: Op) -> None:
    cache, new, past, _ = e.operands(op)
    e.results(op, "TensorScatter", cache, new, past, axis=2, mode="linear")


EMISSIONS: dict[OpDef, Emission] = {
    **single_nodes(NODES),
    ops.gather: emit_gather,
    ops.gather_elements: emit_gather_elements,
    ops.scatter_elements: emit_scatter_elements,
    ops.topk: emit_topk,
    ops.take_tokens: emit_take_tokens,
    gather_ring: emit_gather_ring,
    ops.kv_append: emit_kv_append,
}
