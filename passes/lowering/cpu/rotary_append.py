"""A packed projection goes to turned queries and into the caches in one pass over its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.declare import OpDef
from graphwright.ir.dialects.cpu.packed_caches import quantize_packed
from graphwright.ir.dialects.cpu.rotary import rotary_append, rotary_embedding, scale_types
from graphwright.ir.graph import Graph, Op
from graphwright.ir.types import DType, StateType
from graphwright.passes.base import register
from graphwright.passes.lowering.cpu.kernel_pass import Context, KernelPass, first_column, splits_rows
from graphwright.passes.lowering.cpu.packed_parts import Part, parts_of


@register
@dataclass(frozen=True)
class FuseRotaryAppend(KernelPass):
    """`split`, `split_heads`, rotary embedding and `kv_append`, of f16 or codes too, become `cpu.rotary_append`."""

    name: ClassVar[str] = "cpu-rotary-append"
    findings: ClassVar[tuple[str, ...]] = (rotary_append.name,)
    made: ClassVar[OpDef] = rotary_append
    halves: ClassVar[bool] = True
    """Whether the kernel rounds float32 to caches of f16."""
    turning_op: ClassVar[OpDef] = rotary_embedding

    def lower(self, context: Context) -> None:
        told: set[str] = set()
        for op in context.graph:
            if op.definition is ops.split and splits_rows(op) and op.inputs[0].type.rank == 3:
                parts = parts_of(op, context.program, self.turning_op, self.halves)
                if parts:
                    problem = _fuse(op, parts, context, self.made)
                    if problem is not None:
                        context.near_miss(self.made.name, op, problem)
                        told.add(op.location)
        for op in context.graph:
            if op.definition is ops.kv_append and op.location not in told:
                source = op.required("new").owner
                found = "an input" if source is None else source.name
                context.near_miss(
                    self.made.name, op, f"what is appended comes from {found}, not from heads of a packed row"
                )


def _fuse(split: Op, parts: list[Part], context: Context, made: OpDef) -> str | None:
    """Puts the kernel in the place of the last of the parts' ops; else says why it cannot."""
    queries = [part for part in parts if part.append is None]
    # Of two that are kept, the one that is turned holds keys; else the one whose scales are not its tokens'.
    kept = sorted((p for p in parts if p.append is not None), key=lambda p: (p.rope is None, bool(p.token_scale)))
    if len(queries) != 1 or len(kept) != 2:
        others = ", ".join(dict.fromkeys(name for part in queries for name in part.readers))
        return f"keys and values do not both go from the row to caches as they are: parts of it go to {others}"
    (query,), (key, value) = queries, kept
    graph = context.graph
    order = {op: place for place, op in enumerate(graph)}
    members = sorted((op for part in (query, key, value) for op in part.members), key=order.__getitem__)
    problem = _differ(query, key, value) or _read_between(graph, members, (query, key, value), order)
    if problem is not None:
        return problem
    last = members[-1]
    tables = (None, None) if query.rope is None else query.rope.operands[1:3]
    appends = key.kept, value.kept
    new = Builder(graph, last, value.kept.location).op(
        made,
        split.inputs[0],
        *(append.required("cache") for append in appends),
        *appends[0].operands[2:4],
        *tables,
        key.scale,
        value.scale,
        heads=query.head_count,
        query=first_column(split, query.columns),
        key=first_column(split, key.columns),
        value=first_column(split, value.columns),
        interleaved=query.rope is not None and query.rope.attributes["interleaved"],
    )
    problem = context.target.refusal(new)
    if problem is not None:
        graph.erase(new)
        return problem
    results = [query.result, key.result, value.result, *value.scale_results]
    for old, result in zip(results, new.results, strict=True):
        graph.replace(old, result)
    graph.erase_dead([op for old in results if (op := old.owner) is not None])
    context.hit(made.name, split)
    return None


def _differ(query: Part, key: Part, value: Part) -> str | None:
    """Why one pass cannot take all three."""
    caches = [append.required("cache") for append in (key.kept, value.kept)]
    types = [cache.type for cache in caches]
    assert isinstance(types[0], StateType)
    assert isinstance(types[1], StateType)
    if value.rope is not None:
        return "values are turned too"
    if query.turning != key.turning:
        return "queries and keys are turned differently"
    if query.head_size != key.head_size:
        return f"queries have heads of {query.head_size}, keys of {key.head_size}"
    if types[0].layout != types[1].layout or types[0].shape[:3] != types[1].shape[:3]:
        return f"caches are {types[0]} and {types[1]}"
    if key.kept.operands[2:] != value.kept.operands[2:]:
        return "keys and values are appended at different places"
    if key.token_scale:
        return "keys have a scale a token"
    for part, type in ((key, types[0]), (value, types[1])):
        problem = _unfit_codes(part, type)
        if problem is not None:
            return problem
    return None


def _unfit_codes(part: Part, cache: StateType) -> str | None:
    if part.rounding is None or part.halved:
        return None
    packed = part.rounding.definition is quantize_packed
    if cache.dtype is not (DType.U8 if packed else DType.I8):
        return f"its cache holds codes of {cache.dtype}, its kernel writes i8, or two of four bits in a byte"
    scale = part.scale
    assert scale is not None
    if scale.type not in scale_types(cache):
        return f"scales are {scale.type}: not one for the cache, for each channel or for each token of each head"
    if part.token_scale and part.scale_append.operands[2:] != part.kept.operands[2:]:
        return "codes and their scales are appended at different places"
    return None


def _read_between(graph: Graph, members: list[Op], parts: tuple[Part, ...], order: Mapping[Op, int]) -> str | None:
    """Who reads what is nowhere in memory afterwards, or would come too early.

    Members come as late as the last of them: nobody may read a result before that, nor may another op change a state.
    """
    first, last = order[members[0]], order[members[-1]]
    inside, results = set(members), {v for part in parts for v in (part.result, *part.scale_results)}
    for value in (*(v for op in members for v in op.results), *(part.columns for part in parts)):
        others = [op for op in value.users if op not in inside]
        made = value.owner.name if value.owner is not None else value.name
        if value in results:
            early = next((op for op in others if order[op] < last), None)
            if early is not None:
                return f"{early.name} reads what {made} gives before keys and values are kept"
        elif others or graph.is_output(value):
            return f"{others[0].name if others else 'an output'} reads what {made} gives too"
    between = (op for op in islice(order, first, last) if op not in inside)
    changed = next((op for op in between if any(isinstance(v.type, StateType) for v in op.results)), None)
    return None if changed is None else f"{changed.name} changes another state in between"
