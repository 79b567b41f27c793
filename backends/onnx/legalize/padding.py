"""Keeps what padding leaves behind out of caches that are updated by TensorScatter."""

from __future__ import annotations

from graphwright.backends.onnx.dialect import group_query_attention
from graphwright.backends.onnx.legalize.step import Context
from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.dims import Dim
from graphwright.ir.types import DType


def keep_padding_finite(context: Context) -> None:
    """Zeroes the padding of what is appended where it may be NaN.

    GroupQueryAttention gives NaN for a padding token that stands so far behind the real ones that its window holds
    none of them. Its own caches never take padding in; a TensorScatter of a later layer would, and masking does not
    help: zero times NaN is NaN.
    """
    graph = context.graph
    windowed = [op for op in graph if op.definition is group_query_attention and op.attributes["window"]]
    if not windowed:
        return
    length = windowed[0].required("query_length")
    for op in graph:
        if op.definition is not ops.kv_append:
            continue
        build = Builder(graph, op, op.location)
        new = op.required("new")
        one, sequence = Dim.of(1), new.type.shape[2]
        count = build(ops.reshape, build(ops.iota, size=sequence, dtype=DType.I32), shape=(sequence, one))
        real = build(ops.lt, count, build(ops.reshape, length, shape=(length.type.shape[0], one, one, one)))
        kept = build(ops.where, real, new, build.constant(0.0, new.tensor.dtype))
        graph.set_operand(op, op.definition.operand_index("new"), kept)
        context.hit("keep-padding-finite")
