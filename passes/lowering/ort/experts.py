"""Experts by the MoE operator of ONNX Runtime, one row for each pair of a token and an expert.

The operator routes by itself: it takes the largest values of a router, and mixes by their softmax. Routers in use do
other things with their values, so each pair becomes a row of its own, routed to its expert by a one, and the mixing is
left outside. The products are the same: the operator groups rows by expert.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.dialects.ort.experts import chosen_experts
from graphwright.ir.dims import Dim, product
from graphwright.ir.graph import Op, Value
from graphwright.ir.types import DType, QuantizedType
from graphwright.ir.weights import Applied
from graphwright.passes.base import register
from graphwright.passes.lowering.ort.table_pass import Context, TablePass

RULE = "chosen-experts"


@register
@dataclass(frozen=True)
class ExpertsToOperator(TablePass):
    """Experts whose weights are stored become the MoE operator, one row for each pair of token and expert."""

    name: ClassVar[str] = "ort-experts"
    findings: ClassVar[tuple[str, ...]] = (RULE,)

    def lower(self, context: Context) -> None:
        """Every `moe_experts` whose weights are stored and whose units the operator has."""
        if not context.target.accepts(chosen_experts):
            return
        for op in context.graph:
            if op.definition is not ops.moe_experts:
                continue
            problem = _replaced(context, op)
            if problem is None:
                context.hit(RULE, op)
            else:
                context.near_miss(RULE, op, problem)


def _replaced(context: Context, op: Op) -> str | None:
    """Replaces the op, or says why not."""
    graph, build = context.graph, Builder(context.graph, op, op.location)
    x, indices, shares = (op.required(n) for n in ("x", "indices", "weights"))
    parameters = op.operands[3:]
    if any(p is not None and p.weight is None for p in parameters):
        return "its weights are computed in the graph"
    if any(p is not None and isinstance(p.type, QuantizedType) for p in parameters):
        return "its weights are codes"
    (*leading, k), size, dtype = indices.type.shape, x.type.shape[-1], x.tensor.dtype
    tokens, one = product(leading), Dim.of(1)
    gate_up, down, gate_up_bias, down_bias = parameters
    assert down is not None
    if op.attributes["gated"]:
        gate_up, gate_up_bias = (p if p is None else _alternating(context, p) for p in (gate_up, gate_up_bias))
    spread = build(ops.expand, build(ops.reshape, x, shape=(tokens, one, size)), shape=(tokens, k, size))
    rows = build(ops.reshape, spread, shape=(tokens * k, size))
    column = build(ops.reshape, indices, shape=(tokens * k, one))
    experts = build(ops.iota, size=down.type.shape[0], dtype=DType.I64)
    router = build(ops.cast, build(ops.eq, column, experts), dtype=dtype)
    operands = (rows, router, gate_up, down, gate_up_bias, down_bias)
    result = build.op(chosen_experts, *operands, **op.attributes).result
    assert result.owner is not None
    problem = context.target.refusal(result.owner)
    if problem is not None:
        graph.erase_dead([result.owner])
        return problem
    out = down.type.shape[1]
    share = shares if shares.tensor.dtype is dtype else build(ops.cast, shares, dtype=dtype)
    row = build(ops.reshape, share, shape=(tokens, one, k))
    mixed = build(ops.matmul, row, build(ops.reshape, result, shape=(tokens, k, out)))
    graph.replace(op.result, build(ops.reshape, mixed, shape=(*leading, out)))
    graph.erase_dead([op])
    return None


def _alternating(context: Context, value: Value) -> Value:
    """A weight or bias that holds gate before up, with its rows in turn."""
    weight = value.weight
    assert weight is not None
    experts, rows, *rest = value.type.shape
    half = rows.exact_div(2)
    assert half is not None
    halves = Applied.of(ops.reshape, (weight.expression,), {"shape": (experts, Dim.of(2), half, *rest)})
    pairs = Applied.of(ops.transpose, (halves,), {"permutation": (0, 2, 1, *range(3, 3 + len(rest)))})
    expression = Applied.of(ops.reshape, (pairs,), {"shape": value.type.shape})
    return context.graph.weight(context.program.add_weight(f"{weight.name}.alternating", expression))
