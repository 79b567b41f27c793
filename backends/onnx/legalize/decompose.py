"""Ops that the target does not take, spelt out in ops that it does."""

from __future__ import annotations

from collections.abc import Callable

from graphwright.backends.onnx.dialect import read_cache
from graphwright.backends.onnx.legalize.masked_attention import Masks, combine_bias
from graphwright.backends.onnx.legalize.step import Context
from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.declare import OpDef
from graphwright.ir.dims import Dim
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.program import Program
from graphwright.ir.types import DType, StateType, TensorType
from graphwright.ir.weights import Applied

ONE = Dim.of(1)
NARROW = (DType.F16, DType.BF16)

Decomposition = Callable[[Builder, Op, Masks], Value]


def decompose(context: Context) -> None:
    """Rewrites every op that the table refuses: by its decomposition, or in float32 if it is too narrow a float."""
    # What a decomposition puts in may need another one: sweep until nothing changes.
    masks, changed = Masks(), True
    while changed:
        changed = False
        for op in context.graph:
            changed |= _decomposed(context, op, masks)


def _decomposed(context: Context, op: Op, masks: Masks) -> bool:
    reason = context.target.refusal(op)
    if reason is None:
        return False
    build = Builder(context.graph, op, op.location)
    spell = DECOMPOSITIONS.get(op.definition)
    if spell is not None:
        results = [spell(build, op, masks)]
    elif _can_widen(op):
        results = _widened(context.program, context.graph, build, op)
    else:
        return False
    context.near_miss("decompose", op, reason)
    for old, new in zip(op.results, results, strict=True):
        context.graph.replace(old, new)
    context.graph.erase_dead([op])
    return True


# -- narrow floats


def _can_widen(op: Op) -> bool:
    values = [*op.inputs, *op.results]
    plain = all(isinstance(v.type, TensorType) for v in values)
    return plain and any(v.tensor.dtype in NARROW for v in op.inputs)


def _widened(program: Program, graph: Graph, build: Builder, op: Op) -> list[Value]:
    """The op in float32, its results rounded: how the reference computes narrow floats too."""

    def widen(value: Value | None) -> Value | None:
        if value is None or value.tensor.dtype not in NARROW:
            return value
        if value.weight is not None:
            wide = Applied.of(ops.cast, (value.weight.expression,), {"dtype": DType.F32})
            return graph.weight(program.add_weight(f"{value.weight.name}.f32", wide))
        return build(ops.cast, value, dtype=DType.F32)

    new = build.op(op.definition, *[widen(v) for v in op.operands], **op.attributes)
    narrow = [v.tensor.dtype for v in op.results]
    return [v if v.tensor.dtype is d else build(ops.cast, v, dtype=d) for v, d in zip(new.results, narrow, strict=True)]


# -- attention


def _attention(build: Builder, op: Op, masks: Masks) -> Value:
    q, k, v = (op.required(n) for n in ("q", "k", "v"))
    batch, heads, sequence, _ = q.type.shape
    key_heads, keys = k.type.shape[1:3]
    group = heads.exact_div(key_heads)
    assert group is not None, "checked by the declaration"

    def repeated(x: Value) -> Value:
        if isinstance(x.type, StateType):
            x = build(read_cache, x)
        if group is ONE:
            return x
        size = x.type.shape[3]
        five = build(ops.reshape, x, shape=(batch, key_heads, ONE, keys, size))
        wide = build(ops.expand, five, shape=(batch, key_heads, group, keys, size))
        return build(ops.reshape, wide, shape=(batch, heads, keys, size))

    scaled = build(ops.mul, q, op.attributes["scale"])  # pyright: ignore[reportArgumentType] - declared a float
    scores = build(ops.matmul, scaled, build(ops.transpose, repeated(k), permutation=(0, 1, 3, 2)))
    cap = op.attributes["softcap"]
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


# -- rotary embedding


def _rope(build: Builder, op: Op, _: Masks) -> Value:
    x, positions, frequencies = op.inputs
    pairs = frequencies.type.shape[0]
    batch, heads, sequence, size = x.type.shape
    start, length = positions.type.shape
    column = build(ops.reshape, positions, shape=(start, ONE, length, ONE))
    angle = build(ops.mul, build(ops.cast, column, dtype=DType.F32), frequencies)

    def table(function: OpDef) -> Value:
        values = build(function, angle)
        if op.attributes["scale"] != 1.0:
            values = build(ops.mul, values, op.attributes["scale"])  # pyright: ignore[reportArgumentType] - declared a float
        return values if x.tensor.dtype is DType.F32 else build(ops.cast, values, dtype=x.tensor.dtype)

    cos, sin = table(ops.cos), table(ops.sin)
    parts: list[Value] = []
    whole = pairs * 2
    turned = x if whole is size else build(ops.slice, x, axis=3, stop=whole)
    if op.attributes["interleaved"]:
        couples = build(ops.reshape, turned, shape=(batch, heads, sequence, pairs, Dim.of(2)))
        a, b = (
            build(ops.reshape, build(ops.slice, couples, axis=4, start=i, stop=i + 1), shape=(*x.type.shape[:3], pairs))
            for i in (0, 1)
        )
    else:
        a, b = build(ops.slice, turned, axis=3, stop=pairs), build(ops.slice, turned, axis=3, start=pairs)
    first = build(ops.sub, build(ops.mul, a, cos), build(ops.mul, b, sin))
    second = build(ops.add, build(ops.mul, b, cos), build(ops.mul, a, sin))
    if op.attributes["interleaved"]:
        stacked = [build(ops.reshape, h, shape=(*x.type.shape[:3], pairs, ONE)) for h in (first, second)]
        parts.append(build(ops.reshape, build(ops.concat, *stacked, axis=4), shape=(*x.type.shape[:3], whole)))
    else:
        parts += [first, second]
    if whole is not size:
        parts.append(build(ops.slice, x, axis=3, start=whole))
    return build(ops.concat, *parts, axis=3) if len(parts) > 1 else parts[0]


DECOMPOSITIONS: dict[OpDef, Decomposition] = {ops.attention: _attention, ops.rope: _rope}
