"""What is appended to the caches is attended to in the same launch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from graphwright.ir.builder import Builder
from graphwright.ir.dialects.cuda.append_attention import append_attention
from graphwright.ir.dialects.cuda.attention import split_attention
from graphwright.ir.dialects.cuda.rotary import rotary_append
from graphwright.ir.graph import Graph, Op
from graphwright.ir.targets import Target
from graphwright.passes.base import handed_in, register
from graphwright.passes.lowering.cpu.kernel_pass import Context, KernelPass

RULE = append_attention.name
ABSENT = ("bias", "key_positions")
"""Operands of `cuda.split_attention` that the kernel does not read."""
COLUMNS = ("heads", "query", "key", "value", "interleaved")
SEEN = ("splits", "scale", "mask", "window", "softcap")


@register
@dataclass(frozen=True)
class AppendAttention(KernelPass):
    """`cuda.rotary_append` and the `cuda.split_attention` that reads its results become `cuda.append_attention`."""

    target: Target = field(metadata=handed_in("cuda"))
    name: ClassVar[str] = "cuda-append-attention"
    findings: ClassVar[tuple[str, ...]] = (RULE,)

    def lower(self, context: Context) -> None:
        graph = context.graph
        for op in graph:
            if op.definition is not split_attention:
                continue
            append = op.required("q").defined_by(rotary_append)
            if append is None:
                continue
            problem = _unfit(op, append, graph)
            if problem is not None:
                context.near_miss(RULE, op, problem)
                continue
            attributes = {name: append.attributes[name] for name in COLUMNS} | {n: op.attributes[n] for n in SEEN}
            new = Builder(graph, op, op.location).op(
                append_attention,
                *append.operands[:4],
                op.required("positions"),
                op.required("key_length"),
                append.operand("cos"),
                append.operand("sin"),
                append.operand("key_scale"),
                append.operand("value_scale"),
                **attributes,
            )
            if not context.takes(RULE, op, new):
                continue
            graph.replace(op.result, new.results[0])
            for old, made in zip(append.results[1:], new.results[1:], strict=True):
                graph.replace(old, made)
            graph.erase(op)
            graph.erase(append)
            context.hit(RULE, new)


def _unfit(op: Op, append: Op, graph: Graph) -> str | None:
    """Why the two cannot be one launch, None if they can."""
    queries, keys, values, *scales = append.results
    if append.operand("new_length") is not None:
        return "what it appends to is a ring"
    if op.operand("key_length") is None:
        return "the number of its keys is not given"
    given = next((name for name in ABSENT if op.operand(name) is not None), None)
    if given is not None:
        return f"it has {given}"
    read = [op.operand(name) for name in ("k", "v", "key_scale", "value_scale")]
    if read != [keys, values, append.operand("key_scale"), *(scales or [append.operand("value_scale")])]:
        return "it reads other caches than those that are appended to"
    if graph.is_output(queries):
        return "the queries are an output"
    other = next((user for value in append.results for user in value.users if user is not op), None)
    return None if other is None else f"{other.name} reads what is appended too"
