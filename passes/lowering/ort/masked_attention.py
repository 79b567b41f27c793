"""Attention as the standard operator, with its mask computed from positions and key length."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.dialects.ort.operators import masked_attention
from graphwright.ir.dims import Dim
from graphwright.ir.graph import Op, Value
from graphwright.ir.interpreter import cone
from graphwright.ir.types import DType
from graphwright.passes.base import register
from graphwright.passes.lowering.ort.table_pass import Context, TablePass

RULE = "masked-attention"


class Masks:
    """Masks already built in a graph, so that layers with the same one share it."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Value | None] = {}
        self._rows: dict[tuple[Value, Dim], Value] = {}

    def visible(self, build: Builder, op: Op) -> Value | None:
        """Which keys each query sees, bool [batch or 1, 1, sequence or 1, keys]; None if it sees all."""
        positions, length = op.required("positions"), op.operand("key_length")
        places, keys = op.operand("key_positions"), op.required("k").type.shape[2]
        kind, window = op.attribute("mask", str), op.attribute("window", int)
        key = (positions if kind != "full" else None, length, places, keys, kind, window)
        if key not in self._known:
            self._known[key] = _visible(build, op, positions, length, places, keys)
        return self._known[key]

    def for_each_query(self, build: Builder, mask: Value, queries: Dim) -> Value:
        """The mask with a row for each query: ONNX Runtime (1.32) repeats batch and heads, but no rows."""
        batch, heads, rows, keys = mask.type.shape
        if rows is queries:
            return mask
        if (mask, queries) not in self._rows:
            self._rows[mask, queries] = build(ops.expand, mask, shape=(batch, heads, queries, keys))
        return self._rows[mask, queries]


def _visible(
    build: Builder, op: Op, positions: Value, length: Value | None, places: Value | None, keys: Dim
) -> Value | None:
    conditions: list[Value] = []
    kind, window = op.attribute("mask", str), op.attribute("window", int)
    if places is None:
        key = build(ops.iota, size=keys, dtype=DType.I64)
    else:
        key = build(ops.reshape, places, shape=(places.type.shape[0], Dim.of(1), Dim.of(1), keys))
        conditions.append(build(ops.ge, key, 0))
    if kind != "full":
        batch, sequence = positions.type.shape
        query = build(ops.reshape, positions, shape=(batch, Dim.of(1), sequence, Dim.of(1)))
        past = build(ops.le, key, query)
        match kind:
            case "causal":
                conditions.append(past)
            case "sliding":
                conditions += [past, build(ops.gt, key, build(ops.sub, query, window))]
            case "chunked":
                chunk = build(ops.div, key, window), build(ops.div, query, window)
                conditions += [past, build(ops.eq, *chunk)]
            case _:
                assert kind == "prefix", kind
                conditions.append(build(ops.logical_or, past, build(ops.lt, key, window)))
    if length is not None:
        column = build(ops.reshape, length, shape=(length.type.shape[0], Dim.of(1), Dim.of(1), Dim.of(1)))
        conditions.append(build(ops.lt, key, column))
    mask: Value | None = None
    for condition in conditions:
        mask = condition if mask is None else build(ops.logical_and, mask, condition)
    return mask


def combine_bias(build: Builder, op: Op, mask: Value | None) -> Value | None:
    """The mask together with the op's bias: a bool bias narrows it, a float bias is added where it is open."""
    bias = op.operand("bias")
    if bias is None:
        return mask
    bias = _above_lowest(build, bias)
    rank = bias.type.rank
    if rank < 4:
        bias = build(ops.reshape, bias, shape=(*[Dim.of(1)] * (4 - rank), *bias.type.shape))
    if mask is None:
        return bias
    if bias.tensor.dtype is DType.BOOL:
        return build(ops.logical_and, mask, bias)
    hidden = build.constant(float("-inf"), bias.tensor.dtype)
    return build(ops.where, mask, bias, hidden)


LOWEST = -3.0e38
"""ONNX Runtime (1.32) takes a score at float32's smallest number for hidden: a row of these becomes zeros."""


def _above_lowest(build: Builder, bias: Value) -> Value:
    """A float bias in which the smallest finite number, that code hides scores by, is half of that."""
    if bias.tensor.dtype is not DType.F32:
        return bias
    numbers = [op.attribute("value", bool, int, float) for op in cone([bias]) if op.definition is ops.constant]
    lowest = [n for n in numbers if isinstance(n, float) and n <= LOWEST]
    if not any(math.isfinite(n) for n in lowest):
        return bias
    raised = build(ops.maximum, bias, build.constant(LOWEST / 2, bias.tensor.dtype))
    if all(math.isfinite(n) for n in lowest):
        return raised
    return build(ops.where, build(ops.eq, bias, build.constant(-math.inf, bias.tensor.dtype)), bias, raised)


@register
@dataclass(frozen=True)
class AttentionToOperator(TablePass):
    """Attention without sinks becomes the standard operator, with its mask computed in the graph."""

    name: ClassVar[str] = "ort-attention"
    findings: ClassVar[tuple[str, ...]] = (RULE,)

    def lower(self, context: Context) -> None:
        """Every attention without sinks."""
        graph, masks = context.graph, Masks()
        for op in graph:
            if op.definition is not ops.attention:
                continue
            if op.operand("sinks") is not None:
                context.near_miss(RULE, op, f"{masked_attention.name} has no sinks")
                continue
            build = Builder(graph, op, op.location)
            mask = combine_bias(build, op, masks.visible(build, op))
            q, k, v = (op.required(n) for n in ("q", "k", "v"))
            mask = mask if mask is None else masks.for_each_query(build, mask, q.type.shape[2])
            attributes = {name: op.attributes[name] for name in ("scale", "softcap")}
            new = build(masked_attention, q, k, v, mask, **attributes)
            assert new.owner is not None
            problem = context.target.refusal(new.owner)
            if problem is not None:
                graph.erase(new.owner)
                context.near_miss(RULE, op, problem)
                continue
            graph.replace(op.result, new)
            graph.erase_dead([op])
            context.spelt(RULE, op)
