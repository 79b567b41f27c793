"""Rotary embedding by tables: `rope` becomes RotaryEmbedding with the cosines and sines of all positions as weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.convention import context_window
from graphwright.ir.dialects.ort.operators import rotary_embedding
from graphwright.ir.dims import Dim
from graphwright.ir.graph import Op, Value
from graphwright.ir.program import Program
from graphwright.ir.rewriting import Refusal
from graphwright.ir.types import DType
from graphwright.ir.weights import Applied, Weight, WeightExpression
from graphwright.passes.base import register
from graphwright.passes.lowering.ort.table_pass import Context, TablePass

RULE = "rotary-embedding"


def rotary_tables(program: Program, rope: Op) -> tuple[Weight, Weight] | Refusal:
    """Cosines and sines, [context, pairs], of a rope's angles, computed as the op itself computes them."""
    frequencies = rope.required("frequencies").weight
    context, scale = context_window(program), rope.attributes["scale"]
    if frequencies is None:
        return Refusal("its frequencies are computed in the graph")
    if context is None:
        return Refusal("the program does not say its context length")
    dtype = rope.required("x").tensor.dtype
    counted = Applied.of(ops.iota, (), {"size": Dim.of(context), "dtype": DType.I64})
    positions = Applied.of(ops.cast, (counted,), {"dtype": DType.F32})
    column = Applied.of(ops.reshape, (positions,), {"shape": (Dim.of(context), Dim.of(1))})
    row = Applied.of(ops.reshape, (frequencies.expression,), {"shape": (Dim.of(1), *frequencies.type.shape)})
    angles = Applied.of(ops.mul, (column, row), {})

    def table(function: str) -> Weight:
        values: WeightExpression = Applied.of(ops.cos if function == "cos" else ops.sin, (angles,), {})
        if scale != 1.0:
            factor = Applied.of(ops.constant, (), {"value": scale, "dtype": DType.F32})
            values = Applied.of(ops.mul, (values, factor), {})
        if dtype is not DType.F32:
            values = Applied.of(ops.cast, (values,), {"dtype": dtype})
        return program.add_weight(f"{frequencies.name}.{function}", values)

    return table("cos"), table("sin")


def rotate(context: Context, rope: Op, x: Value, before: Op) -> Value | Refusal:
    """x, which holds the operand of `rope` in its own or in token-major order, rotated by RotaryEmbedding."""
    tables = rotary_tables(context.program, rope)
    if isinstance(tables, Refusal):
        return tables
    build = Builder(context.graph, before, rope.location)
    positions = rope.required("positions")
    batch, heads = rope.required("x").type.shape[:2]
    if positions.type.shape[0] is not batch:
        positions = build(ops.expand, positions, shape=(batch, positions.type.shape[1]))
    cos, sin = (context.graph.weight(w) for w in tables)
    attributes = {"heads": heads.evaluate({}), "interleaved": rope.attributes["interleaved"]}
    new = build(rotary_embedding, x, cos, sin, positions, **attributes)
    assert new.owner is not None
    problem = context.target.refusal(new.owner)
    if problem is not None:
        context.graph.erase_dead([new.owner])
        return Refusal(problem)
    return new


@register
@dataclass(frozen=True)
class RotaryToOperator(TablePass):
    """Rotary embedding becomes RotaryEmbedding over tables of cosines and sines."""

    name: ClassVar[str] = "ort-rotary"
    findings: ClassVar[tuple[str, ...]] = (RULE,)

    def lower(self, context: Context) -> None:
        """Every rope that the operator can express; heads are left where they are."""
        for op in context.graph:
            if op.definition is not ops.rope:
                continue
            x = op.required("x")
            split = x.defined_by(ops.split_heads)
            new = rotate(context, op, split.required("x") if split is not None else x, op)
            if isinstance(new, Refusal):
                context.near_miss(RULE, op, new.reason)
                continue
            if split is not None:
                new = Builder(context.graph, op, op.location)(ops.split_heads, new, heads=split.attributes["heads"])
            context.graph.replace(op.result, new)
            context.graph.erase_dead([op])
            context.hit(RULE, op)
