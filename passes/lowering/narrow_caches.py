"""Caches of 4-bit codes as bytes of two, for targets that have no type of four bits."""

from __future__ import annotations

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.declare import OpDef
from graphwright.ir.dims import Dim
from graphwright.ir.graph import Op, Value
from graphwright.ir.types import DType, QuantizedType, StateType, TensorType
from graphwright.passes.lowering.context import Context

RULE = "packed-caches"
MOVES = (ops.kv_append, ops.kv_read, ops.concat)
"""What may happen to codes between rounding and reading: it leaves the last axis as it is."""


def pack_caches(context: Context, quantize: OpDef, dequantize: OpDef) -> None:
    """Every cache of i4 in a graph whose codes come from `quantize_tensor` and go to `dequantize_tensor` alone.

    The two ops are what takes the place of these for bytes of two codes, u8.
    """
    graph = context.graph
    caches = [v for v in graph.inputs if _is_narrow(v)]
    if not caches:
        return
    for op in graph:
        reason = _unfit(op)
        if reason is not None:
            context.near_miss(RULE, op, reason)
            return
    packed: set[Value] = set(caches)
    for cache in caches:
        assert isinstance(cache.type, StateType)
        *places, size = cache.type.shape
        cache.type = StateType(cache.type.layout, TensorType(DType.U8, (*places, _half(size))))
        context.hit(RULE, cache.users[0])
    for op in graph:
        build = Builder(graph, op, op.location)
        if op.definition is ops.quantize_tensor and _is_narrow(op.result):
            new = build(quantize, *op.operands)
        elif op.definition is ops.dequantize_tensor and op.required("codes") in packed:
            new = build(dequantize, *op.operands, **op.attributes)
        elif op.results and _is_narrow(op.results[0]):
            new = build(op.definition, *op.operands, **op.attributes)
        else:
            continue
        packed.add(new)
        graph.replace(op.results[0], new)
        graph.erase(op)


def _unfit(op: Op) -> str | None:
    """Why an op cannot have two codes in a byte; None if it can, or has no codes of four bits."""
    narrow = [v for v in (*op.inputs, *op.results) if _is_narrow(v)]
    if not narrow:
        return None
    moves = op.definition in MOVES and not (op.definition is ops.concat and op.attributes["axis"] in (-1, 3))
    if not moves and op.definition not in (ops.quantize_tensor, ops.dequantize_tensor):
        return f"{op.name} takes codes of four bits one by one"
    sizes = [v.type.shape[-1] for v in narrow]
    odd = next((size for size in sizes if size.exact_div(2) is None), None)
    return None if odd is None else f"{odd} codes of four bits are not a whole number of bytes"


def _half(size: Dim) -> Dim:
    half = size.exact_div(2)
    assert half is not None, f"{size} was found even"
    return half


def _is_narrow(value: Value) -> bool:
    """Whether a value is codes of four bits that are no weight's: those are packed where their products are."""
    return value.weight is None and not isinstance(value.type, QuantizedType) and value.type.dtype is DType.I4
