"""Emission of the ops that pick elements by index, and of the cache update."""

from __future__ import annotations

from graphwright.backends.onnx.emit.emitter import Emitter
from graphwright.backends.onnx.emit.table import emits, emits_node
from graphwright.ir import ops
from graphwright.ir.dialects.ort.operators import as_cache, gather_ring
from graphwright.ir.graph import Op

emits_node({ops.embedding: "Gather", ops.kv_read: "Identity", as_cache: "Identity"})


@emits(ops.gather)
def emit_gather(e: Emitter, op: Op) -> None:
    e.results(op, "Gather", *e.operands(op), axis=op.attribute("axis", int))


@emits(ops.gather_elements)
def emit_gather_elements(e: Emitter, op: Op) -> None:
    e.results(op, "GatherElements", *e.operands(op), axis=op.attribute("axis", int))


@emits(ops.scatter_elements)
def emit_scatter_elements(e: Emitter, op: Op) -> None:
    axis, reduction = op.attribute("axis", int), op.attribute("reduction", str)
    e.results(op, "ScatterElements", *e.operands(op), axis=axis, reduction=reduction)


@emits(ops.topk)
def emit_topk(e: Emitter, op: Op) -> None:
    (x,), axis, largest = e.operands(op), op.attribute("axis", int), op.attribute("largest", bool)
    e.results(op, "TopK", x, e.integers(op.attribute("k", int)), axis=axis, largest=int(largest), sorted=1)


@emits(ops.take_tokens)
def emit_take_tokens(e: Emitter, op: Op) -> None:
    x, positions = e.operands(op)
    e.results(op, "GatherND", x, e.node("Unsqueeze", positions, e.integers(-1)), batch_dims=1)


@emits(gather_ring)
def emit_gather_ring(e: Emitter, op: Op) -> None:
    x, index = e.operands(op)
    e.results(op, "GatherND", x, e.node("Unsqueeze", index, e.integers(-1)), batch_dims=2)


@emits(ops.kv_append)
def emit_kv_append(e: Emitter, op: Op) -> None:
    cache, new, past, _ = e.operands(op)
    e.results(op, "TensorScatter", cache, new, past, axis=2, mode="linear")
