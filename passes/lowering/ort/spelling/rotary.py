"""Rotary embedding in primitives, where no table of angles can be made."""

from __future__ import annotations

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.declare import OpDef
from graphwright.ir.dims import Dim
from graphwright.ir.graph import Op, Value
from graphwright.ir.ops.rules import ONE
from graphwright.ir.types import DType
from graphwright.passes.lowering.ort.masked_attention import Masks
from graphwright.passes.lowering.ort.spelling.types import NARROW


def spell_rope(build: Builder, op: Op, _: Masks) -> Value:
    """`rope` with its angles computed in the graph."""
    x, positions, frequencies = op.inputs
    pairs = frequencies.type.shape[0]
    batch, heads, sequence, size = x.type.shape
    start, length = positions.type.shape
    column = build(ops.reshape, positions, shape=(start, ONE, length, ONE))
    dtype = x.tensor.dtype
    if dtype in NARROW:
        dtype = DType.F32
    elif dtype is DType.F64:
        frequencies = build(ops.cast, frequencies, dtype=dtype)
    angle = build(ops.mul, build(ops.cast, column, dtype=dtype), frequencies)

    scale, interleaved = op.attribute("scale", float), op.attribute("interleaved", bool)

    def table(function: OpDef) -> Value:
        values = build(function, angle)
        if scale != 1.0:
            values = build(ops.mul, values, scale)
        return values if dtype is x.tensor.dtype else build(ops.cast, values, dtype=x.tensor.dtype)

    cos, sin = table(ops.cos), table(ops.sin)
    parts: list[Value] = []
    whole = pairs * 2
    turned = x if whole is size else build(ops.slice, x, axis=3, stop=whole)
    if interleaved:
        couples = build(ops.reshape, turned, shape=(batch, heads, sequence, pairs, Dim.of(2)))
        a, b = (
            build(ops.reshape, build(ops.slice, couples, axis=4, start=i, stop=i + 1), shape=(*x.type.shape[:3], pairs))
            for i in (0, 1)
        )
    else:
        a, b = build(ops.slice, turned, axis=3, stop=pairs), build(ops.slice, turned, axis=3, start=pairs)
    first = build(ops.sub, build(ops.mul, a, cos), build(ops.mul, b, sin))
    second = build(ops.add, build(ops.mul, b, cos), build(ops.mul, a, sin))
    if interleaved:
        stacked = [build(ops.reshape, h, shape=(*x.type.shape[:3], pairs, ONE)) for h in (first, second)]
        parts.append(build(ops.reshape, build(ops.concat, *stacked, axis=4), shape=(*x.type.shape[:3], whole)))
    else:
        parts += [first, second]
    if whole is not size:
        parts.append(build(ops.slice, x, axis=3, start=whole))
    return build(ops.concat, *parts, axis=3) if len(parts) > 1 else parts[0]
