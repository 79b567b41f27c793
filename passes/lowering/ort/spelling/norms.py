"""Norms in primitives: the operators state epsilon in float32, which is too coarse for float64."""

from __future__ import annotations

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.graph import Op, Value
from graphwright.passes.lowering.ort.masked_attention import Masks


def spell_rms_norm(build: Builder, op: Op, _: Masks) -> Value:
    """`rms_norm` by its definition."""
    x, weight = op.inputs
    return build(ops.mul, _unit(build, x, op), weight)


def spell_layer_norm(build: Builder, op: Op, _: Masks) -> Value:
    """`layer_norm` by its definition."""
    x, weight, bias = op.operands
    assert x is not None, "checked by the declaration"
    normed = _unit(build, build(ops.sub, x, build(ops.mean, x, axes=(-1,), keepdims=True)), op)
    if weight is not None:
        normed = build(ops.mul, normed, weight)
    return normed if bias is None else build(ops.add, normed, bias)


def _unit(build: Builder, x: Value, op: Op) -> Value:
    """x by its root mean square over the last axis."""
    epsilon = op.attribute("epsilon", float)
    square = build(ops.mean, build(ops.mul, x, x), axes=(-1,), keepdims=True)
    return build(ops.mul, x, build(ops.rsqrt, build(ops.add, square, epsilon)))
