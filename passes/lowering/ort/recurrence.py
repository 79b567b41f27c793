"""Recurrences that ONNX Runtime has kernels for. The others become loops when they are written out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.dialects.ort.recurrence import linear_attention, stateful_conv
from graphwright.ir.dims import Dim
from graphwright.ir.graph import Op, Value
from graphwright.passes.base import register
from graphwright.passes.lowering.ort.table_pass import Context, TablePass

RULE = "recurrence-kernel"
HEADS_LAST = (0, 2, 1, 3)
ONE = Dim.of(1)


@register
@dataclass(frozen=True)
class RecurrencesToKernels(TablePass):
    """Causal convolutions and linear recurrences become the operators that ONNX Runtime has kernels for.

    Those are convolutions of each channel by itself, and recurrences whose decay the kernel takes as it is.
    """

    name: ClassVar[str] = "ort-recurrences"
    findings: ClassVar[tuple[str, ...]] = (
        RULE,
        stateful_conv.name,
        linear_attention.name,
    )

    def lower(self, context: Context) -> None:
        for op in context.graph:
            if op.definition is ops.causal_conv and context.target.accepts(stateful_conv):
                new = _conv(context, op)
            elif op.definition is ops.linear_recurrence and context.target.accepts(linear_attention):
                new = _attention(context, op)
            else:
                continue
            if isinstance(new, str):
                context.near_miss(RULE, op, new)
            else:
                context.graph.replace(op.results[1], new.results[1])
                context.graph.erase_dead([op])
                context.hit(new.name, op)


def _accepted(context: Context, new: Op) -> str | None:
    problem = context.target.refusal(new)
    if problem is not None:
        context.graph.erase(new)
    return problem


def _conv(context: Context, op: Op) -> Op | str:
    x, weight = op.required("x").type, op.required("weight").type
    if op.attributes["groups"] != x.shape[1] or weight.shape[0] is not x.shape[1]:
        return "its channels are not apart"
    new = Builder(context.graph, op, op.location).op(stateful_conv, *op.operands, dilation=op.attributes["dilation"])
    problem = _accepted(context, new)
    if problem is None:
        context.graph.replace(op.results[0], new.results[0])
    return problem or new


def _attention(context: Context, op: Op) -> Op | str:
    q, k, v, decay, rates, beta, state, lengths = op.operands
    assert q is not None
    assert k is not None
    assert v is not None
    build = Builder(context.graph, op, op.location)
    if decay is not None and rates is not None:
        if rates.type.shape[1] is not ONE and decay.type.shape[3] is ONE:
            return "its decay for each key would be written out for every token"
        # [heads, keys or 1] over [batch, heads, tokens, keys or 1]
        decay = build(ops.mul, decay, build(ops.reshape, rates, shape=(rates.type.shape[0], 1, rates.type.shape[1])))
    packed = [None if x is None else _side_by_side(build, x) for x in (q, k, v, decay)]
    gate = None if beta is None else build(ops.transpose, beta, permutation=(0, 2, 1))
    heads, groups = (x.type.shape[1].evaluate({}) for x in (v, k))
    new = build.op(linear_attention, *packed, gate, state, lengths, groups=groups, heads=heads)
    problem = _accepted(context, new)
    if problem is not None:
        return problem
    _unpack(context, op, new)
    return new


def _side_by_side(build: Builder, x: Value) -> Value:
    """[batch, heads, tokens, size] as [batch, tokens, heads * size], without moving what lay so before."""
    split = x.defined_by(ops.split_heads)
    if split is not None:
        return split.inputs[0]
    turned = x.defined_by(ops.transpose)
    if turned is None or turned.attributes["permutation"] != HEADS_LAST:
        return build(ops.merge_heads, x)
    batch, heads, tokens, size = x.type.shape
    return build(ops.reshape, turned.inputs[0], shape=(batch, tokens, heads * size))


def _unpack(context: Context, op: Op, new: Op) -> None:
    """The users of the recurrence's result get that of the kernel, again without moving it where they move it back."""
    result, packed = op.results[0], new.results[0]
    batch, heads, tokens, size = result.type.shape
    build = Builder(context.graph, op, op.location)
    for user in result.users:
        if user.definition is ops.merge_heads:
            context.graph.replace(user.result, packed)
        elif user.definition is ops.transpose and user.attributes["permutation"] == HEADS_LAST:
            context.graph.replace(user.result, build(ops.reshape, packed, shape=(batch, tokens, heads, size)))
    if result.users or context.graph.is_output(result):
        context.graph.replace(result, build(ops.split_heads, packed, heads=new.attributes["heads"]))
