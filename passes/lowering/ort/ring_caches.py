"""Ring caches: where their tokens stand, computed from lengths, and the update as one gather.

What a ring holds afterwards lies in what attention reads: the ring before, and the new tokens. Gathering copies the
ring once, into another buffer, and needs no care about tokens that would be written to the same place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.dialects.ort.operators import gather_ring
from graphwright.ir.dims import Dim
from graphwright.ir.graph import Op, Value
from graphwright.ir.types import DType, StateType
from graphwright.passes.base import register
from graphwright.passes.lowering.ort.table_pass import Context, TablePass

RULE, POSITIONS = "ring-append", "ring-positions"
ONE = Dim.of(1)


@register
@dataclass(frozen=True)
class RingsToGathers(TablePass):
    """Appends to ring caches become gathers; positions of a ring are computed from its length."""

    name: ClassVar[str] = "ort-ring-caches"
    findings: ClassVar[tuple[str, ...]] = (
        RULE,
        POSITIONS,
    )

    def lower(self, context: Context) -> None:
        """Every append to a ring, and every `ring_positions`."""
        graph = context.graph
        indices: dict[tuple[Value, Value, Dim, Dim], Value] = {}
        for op in graph:
            if not _appends_to_ring(op):
                continue
            build = Builder(graph, op, op.location)
            cache, past, new = op.required("cache"), op.required("past_length"), op.required("new_length")
            _, heads, capacity, _ = cache.type.shape
            key = past, new, heads, capacity
            if key not in indices:
                indices[key] = _sources(build, *key)
            graph.replace(op.result, build(gather_ring, _read(build, op), indices[key]))
            graph.erase_dead([op])
            context.hit(RULE, op)
        for op in graph:
            if op.definition is ops.ring_positions:
                capacity = op.attribute("capacity", int)
                graph.replace(op.result, _positions(Builder(graph, op, op.location), op.required("length"), capacity))
                graph.erase_dead([op])
                context.spelt(POSITIONS, op)


def ring_reads(op: Op) -> Value | None:
    """Of the concatenation of a ring's past and new tokens the new ones, None for another op."""
    if op.definition is not ops.concat or len(op.inputs) != 2:
        return None
    read = op.inputs[0].defined_by(ops.kv_read)
    ring = read is not None and isinstance(type := read.inputs[0].type, StateType) and type.layout == "ring"
    return op.inputs[1] if ring else None


def _appends_to_ring(op: Op) -> bool:
    return op.definition is ops.kv_append and op.operand("new_length") is not None


def _read(build: Builder, op: Op) -> Value:
    """The ring before and the new tokens, as attention has them already."""
    cache, new = op.required("cache"), op.required("new")
    for read in cache.users:
        for user in read.results[0].users if read.definition is ops.kv_read else ():
            if ring_reads(user) is new:
                return user.result
    return build(ops.concat, build(ops.kv_read, cache), new, axis=2)


def _sources(build: Builder, past: Value, new: Value, heads: Dim, capacity: Dim) -> Value:
    """Where each place of a ring finds its token among the ring before and the new ones: i64 [batch, heads, capacity].

    A position from the past length on is a new token, behind the ring's places; any other stays at its place.
    """
    batch = past.type.shape[0]
    size = capacity.evaluate({})
    held = build(ops.ring_positions, build(ops.add, past, new), capacity=size)
    index = build(ops.sub, held, build(ops.reshape, past, shape=(batch, ONE)))
    moved, place = build(ops.add, index, size), build(ops.iota, size=size, dtype=DType.I64)
    chosen = build(ops.where, build(ops.ge, index, 0), moved, place)
    return build(ops.expand, build(ops.reshape, chosen, shape=(batch, ONE, capacity)), shape=(batch, heads, capacity))


def _positions(build: Builder, length: Value, capacity: int) -> Value:
    last = build(ops.sub, build(ops.reshape, length, shape=(length.type.shape[0], ONE)), 1)
    behind = build(ops.remainder, build(ops.sub, last, build(ops.iota, size=capacity, dtype=DType.I64)), capacity)
    return build(ops.sub, last, behind)
