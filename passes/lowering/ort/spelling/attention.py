"""Attention in primitives, for what the standard operator does not know."""

from __future__ import annotations

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.graph import Op, Value
from graphwright.ir.ops.rules import ONE
from graphwright.ir.types import DType, StateType
from graphwright.passes.lowering.ort.masked_attention import Masks, combine_bias


def spell_attention(build: Builder, op: Op, masks: Masks) -> Value:
    """`attention` as products and a softmax, over heads repeated for their groups."""
    q, k, v = (op.required(n) for n in ("q", "k", "v"))
    batch, heads, sequence, _ = q.type.shape
    key_heads, keys = k.type.shape[1:3]
    group = heads.exact_div(key_heads)
    assert group is not None, "checked by the declaration"

    def repeated(x: Value) -> Value:
        if isinstance(x.type, StateType):
            x = build(ops.kv_read, x)
        if group is ONE:
            return x
        size = x.type.shape[3]
        five = build(ops.reshape, x, shape=(batch, key_heads, ONE, keys, size))
        wide = build(ops.expand, five, shape=(batch, key_heads, group, keys, size))
        return build(ops.reshape, wide, shape=(batch, heads, keys, size))

    scaled = build(ops.mul, q, op.attribute("scale", float))
    scores = build(ops.matmul, scaled, build(ops.transpose, repeated(k), permutation=(0, 1, 3, 2)))
    cap = op.attribute("softcap", float)
    if cap:
        scores = build(ops.softcap, scores, cap=cap)
    bias = op.operand("bias")
    seen = masks.visible(build, op)
    if bias is not None and bias.tensor.dtype is DType.BOOL:
        seen = combine_bias(build, op, seen)
    elif bias is not None:
        scores = build(ops.add, scores, bias)
    if seen is not None:
        scores = build(ops.where, seen, scores, build.constant(LOWEST[q.tensor.dtype], q.tensor.dtype))
    sinks = op.operand("sinks")
    if sinks is not None:
        column = build(ops.reshape, sinks, shape=(ONE, heads, ONE, ONE))
        column = build(ops.expand, column, shape=(batch, heads, sequence, ONE))
        scores = build(ops.concat, scores, column, axis=3)
    weights = build(ops.softmax, scores, axis=3)
    if sinks is not None:
        weights = build(ops.slice, weights, axis=3, stop=keys)
    if seen is not None:
        # A query that sees no key has equal weights by now; they have to be none.
        weights = build(ops.where, seen, weights, build.constant(0.0, q.tensor.dtype))
    return build(ops.matmul, weights, repeated(v))


LOWEST = {DType.F16: -6.0e4, DType.BF16: -3.0e38, DType.F32: -3.0e38, DType.F64: -1.0e308}
"""A score that no key reaches. Not minus infinity: a row of those would become NaN, and NaN would spread."""
