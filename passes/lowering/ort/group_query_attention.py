"""Cache update, rotary embedding and attention become one GroupQueryAttention.

The operator has three results, so this is no rewriting rule. What stops it is a near miss, and the attention is left to
the passes after this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.declare import OpDef
from graphwright.ir.dialects.ort.group_query import group_query_attention
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.ops.rules import ONE
from graphwright.ir.rewriting import Refusal
from graphwright.ir.types import DType
from graphwright.passes.base import register
from graphwright.passes.lowering.ort.cache_reads import CacheRead, cache_read, common_scales
from graphwright.passes.lowering.ort.rotary import rotary_tables, rotate
from graphwright.passes.lowering.ort.table_pass import Context, TablePass

RULE = "group-query-attention"
ROTARY_INSIDE = f"{RULE}: rotary inside"
COUNTS = f"{RULE}: lengths"
FORMS = ("real tokens", "longest row", "capacity")
"""What the operator is told of lengths, the best first: how many tokens of each row are real, and the longest row; that
alone, so that padding counts as tokens; or, of the longest row, that it is no longer than the caches are."""

_Lengths = tuple[Value, Value, Value | None]
_Known = dict[tuple[Value, Value, str], _Lengths]
"""Lengths of a graph by the past and the new length, and their form: layers share them."""


@dataclass(frozen=True)
class _Found:
    """An attention over a cache that the same graph appends to."""

    attention: Op
    key: CacheRead
    value: CacheRead
    past_length: Value
    new_length: Value


@register
@dataclass(frozen=True)
class FuseGroupQueryAttention(TablePass):
    """Cache update, rotary embedding and attention become one GroupQueryAttention."""

    name: ClassVar[str] = "ort-group-query-attention"
    findings: ClassVar[tuple[str, ...]] = (
        RULE,
        ROTARY_INSIDE,
        COUNTS,
    )

    def lower(self, context: Context) -> None:
        """Every causal or sliding attention whose keys and values are appended to caches just before it."""
        if not context.target.accepts(group_query_attention):
            return
        lengths: _Known = {}
        for op in context.graph:
            if op.definition is not ops.attention:
                continue
            if cache_read(op.required("k")) is None and op.operand("key_positions") is None:
                continue
            found = _recognize(op)
            fused = _fuse(context, found, lengths) if isinstance(found, _Found) else found
            if isinstance(fused, Refusal):
                context.near_miss(RULE, op, fused.reason)
            else:
                context.hit(RULE, op)


def _recognize(op: Op) -> _Found | Refusal:
    if op.operand("key_positions") is not None:
        return Refusal("its keys have positions of their own, as those of a ring cache do")
    mask = op.attributes["mask"]
    if mask not in ("causal", "sliding"):
        return Refusal(f"the mask is {mask}")
    if op.operand("bias") is not None:
        return Refusal("it has a bias on the scores")
    key, value = (cache_read(op.required(n)) for n in ("k", "v"))
    if key is None or value is None:
        return Refusal("keys or values do not come from a cache")
    past = key.append.required("past_length")
    if value.append.required("past_length") is not past:
        return Refusal("keys and values are appended at different positions")
    for read in (key, value):
        if not read.is_only_for(op):
            return Refusal("the cache is read by another op too")
        if read.scale is not None and not read.is_fitted:
            return Refusal("each token in its cache has a scale of its own")
    if key.append.required("cache").type != value.append.required("cache").type:
        return Refusal("keys and values differ in head size")
    total = op.operand("key_length")
    added = total.defined_by(ops.add) if total is not None else None
    new = _other(added, past) if added is not None else None
    if new is None:
        return Refusal("its key length is not past length + new length")
    if not is_positions(op.required("positions"), past):
        return Refusal("its query positions do not count on from the past length")
    return _Found(op, key, value, past, new)


def _other(add: Op, one: Value) -> Value | None:
    """The operand of an addition that is not `one`."""
    x, y = add.inputs
    return y if x is one else x if y is one else None


def is_positions(value: Value, past: Value) -> bool:
    """Whether a value is past[:, None] + 0, 1, 2, …"""
    add = value.defined_by(ops.add)
    if add is None:
        return False
    for start, count in (add.inputs, add.inputs[::-1]):
        column = start.defined_by(ops.reshape)
        if column is not None and column.inputs[0] is past and count.defined_by(ops.iota) is not None:
            return start.type.shape == (past.type.shape[0], ONE)
    return False


def _fuse(context: Context, found: _Found, lengths: _Known) -> Op | Refusal:
    graph, op = context.graph, found.attention
    q, k, v = op.required("q"), found.key.new, found.value.new
    ropes = q.defined_by(ops.rope), k.defined_by(ops.rope)
    shared = _shared_rotation(context, found, *ropes)
    if not isinstance(shared, Refusal):
        inside = [r.required("x") if r is not None else x for r, x in zip(ropes, (q, k), strict=True)]
        fused = _build(context, found, lengths, inside[0], inside[1], v, shared)
        if isinstance(fused, Op) or ropes == (None, None):
            return fused
        shared = fused
    rotated: list[Value] = []
    for rope, x in zip(ropes, (q, k), strict=True):
        new = rotate(context, rope, tokens_first(graph, rope.required("x"), op), op) if rope is not None else x
        if isinstance(new, Refusal):
            return new
        rotated.append(new)
    fused = _build(context, found, lengths, rotated[0], rotated[1], v, None)
    # At the operator, where it came to one: that the attention is gone does not settle it.
    context.near_miss(ROTARY_INSIDE, fused if isinstance(fused, Op) else op, shared.reason)
    return fused


def _shared_rotation(
    context: Context, found: _Found, q: Op | None, k: Op | None
) -> tuple[Value, Value, bool] | Refusal | None:
    """The tables with which the operator can rotate queries and keys; None if neither is rotated."""
    if q is None and k is None:
        return None
    if q is None or k is None:
        return Refusal("only one of queries and keys is rotated")
    if q.attributes != k.attributes or q.required("frequencies") is not k.required("frequencies"):
        return Refusal("queries and keys are rotated differently")
    if not all(is_positions(r.required("positions"), found.past_length) for r in (q, k)):
        return Refusal("it is rotated by other positions than those of the cache")
    tables = rotary_tables(context.program, q)
    if isinstance(tables, Refusal):
        return tables
    cos, sin = (context.graph.weight(t) for t in tables)
    return cos, sin, q.attribute("interleaved", bool)


def _build(
    context: Context,
    found: _Found,
    lengths: _Known,
    q: Value,
    k: Value,
    v: Value,
    rotation: tuple[Value, Value, bool] | None,
) -> Op | Refusal:
    graph, op = context.graph, found.attention
    build = Builder(graph, op, op.location)
    query, key, value = (x if x.type.rank == 3 else tokens_first(graph, x, op) for x in (q, k, v))
    packed = _packed(query, key, value)
    query, key, value = (query, key, value) if packed is None else (packed, None, None)
    cos, sin, interleaved = rotation if rotation is not None else (None, None, False)
    heads = op.required("q").type.shape[1].evaluate({})
    appends = found.key.append, found.value.append
    caches = [append.required("cache") for append in appends]
    attributes = {name: op.attributes[name] for name in ("scale", "window", "softcap")}
    scales = common_scales(context, found.key, found.value)
    problems: list[str] = []
    for form in FORMS:
        counts = found.past_length, found.new_length, form
        if counts not in lengths:
            lengths[counts] = _lengths(build, found, form)
        new = build.op(
            group_query_attention,
            *(query, *caches, *lengths[counts], key, value, cos, sin, op.operand("sinks"), *scales),
            **{"heads": heads, "interleaved": interleaved, **attributes},
        )
        problem = context.target.refusal(new)
        if problem is None:
            break
        # The lengths stay for the next attention; what nobody uses is swept at the end.
        graph.erase(new)
        problems.append(problem)
    else:
        return Refusal(problems[-1])
    if problems:
        context.near_miss(COUNTS, new, problems[0])
    _replace(graph, op, new.results[0], heads)
    for append, result in zip(appends, new.results[1:], strict=True):
        graph.replace(append.result, result)
    graph.erase_dead([op, *appends])
    return new


def _lengths(build: Builder, found: _Found, form: str) -> _Lengths:
    """The operator's counts, i32: the last position of each row, the longest row, and the real new tokens."""
    if form == "real tokens":
        key_length = found.attention.required("key_length")
        last = build(ops.cast, build(ops.sub, key_length, 1), dtype=DType.I32)
        longest = build(ops.cast, build(ops.amax, key_length, axes=(0,)), dtype=DType.I32)
        return last, longest, build(ops.cast, found.new_length, dtype=DType.I32)
    # That of the last token, padding or not. Not the past and the number of tokens: they may lie in different memory.
    position = build(ops.amax, found.attention.required("positions"), axes=(1,))
    if form == "longest row":
        total = build(ops.add, build(ops.amax, position, axes=(0,)), 1)
    else:
        capacity = found.key.append.required("cache").type.shape[2]
        total = build(ops.dim_value, value=capacity)
    return build(ops.cast, position, dtype=DType.I32), build(ops.cast, total, dtype=DType.I32), None


def _replace(graph: Graph, op: Op, merged: Value, heads: int) -> None:
    """Puts a token-major result in the place of an attention's."""
    for user in op.result.users:
        if user.definition is ops.merge_heads:
            graph.replace(user.result, merged)
    graph.erase_dead([u for u in op.result.users if u.definition is ops.merge_heads])
    if op.result.uses or graph.is_output(op.result):
        graph.replace(op.result, Builder(graph, op, op.location)(ops.split_heads, merged, heads=heads))


NORMS: tuple[OpDef, ...] = (ops.rms_norm, ops.layer_norm)


def tokens_first(graph: Graph, value: Value, before: Op) -> Value:
    """[batch, heads, sequence, size] as [batch, sequence, heads * size], where possible without moving an element.

    A norm over the last axis works on each head of each token alone, so it can be done in token-major order.
    """
    build = Builder(graph, before, before.location)
    split = value.defined_by(ops.split_heads)
    if split is not None:
        return split.required("x")
    batch, heads, sequence, size = value.type.shape
    if value.owner is not None and value.owner.definition in NORMS:
        norm = value.owner
        inner = tokens_first(graph, norm.required("x"), before)
        four = build(ops.reshape, inner, shape=(batch, sequence, heads, size))
        normed = build(norm.definition, four, *norm.operands[1:], **norm.attributes)
        return build(ops.reshape, normed, shape=(batch, sequence, heads * size))
    return build(ops.merge_heads, value)


def _packed(query: Value, key: Value, value: Value) -> Value | None:
    """The tensor of which queries, keys and values are, in this order, the parts along the last axis."""
    split = query.defined_by(ops.split)
    if split is None or split.results != [query, key, value]:
        return None
    axis = split.attributes["axis"]
    return split.inputs[0] if axis in (2, -1) else None
