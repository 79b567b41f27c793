"""Attention of few queries: the context is split over blocks of threads, and the pieces are put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from graphwright.ir.builder import Builder
from graphwright.ir.dialects.cuda.attention import combine_splits, fused_attention, split_attention
from graphwright.ir.graph import Op
from graphwright.ir.targets import Target
from graphwright.passes.base import handed_in, register
from graphwright.passes.lowering.cpu.kernel_pass import Context, KernelPass

RULE = split_attention.name


@register
@dataclass(frozen=True)
class SplitAttention(KernelPass):
    """`cuda.attention` of at most `most_queries` tokens becomes `cuda.split_attention` and `cuda.combine_splits`."""

    target: Target = field(metadata=handed_in("cuda"))
    name: ClassVar[str] = "cuda-split-attention"
    findings: ClassVar[tuple[str, ...]] = (RULE,)
    splits: int = 8
    most_queries: int = 16

    def lower(self, context: Context) -> None:
        graph = context.graph
        for op in graph:
            if op.definition is not fused_attention:
                continue
            problem = self._unfit(op)
            if problem is not None:
                context.near_miss(RULE, op, problem)
                continue
            build = Builder(graph, op, op.location)
            kept = {name: op.attributes[name] for name in ("scale", "mask", "window", "softcap")}
            read = [op.operand(operand.name) for operand in split_attention.operands]
            pieces = build.op(split_attention, *read, splits=self.splits, **kept)
            if not context.takes(RULE, op, pieces):
                continue
            dtype = op.result.tensor.dtype
            graph.replace(op.result, build(combine_splits, pieces.result, op.operand("sinks"), dtype=dtype))
            graph.erase(op)
            context.hit(RULE, pieces)

    def _unfit(self, op: Op) -> str | None:
        tokens = op.required("q").type.shape[2]
        if tokens.constant is None or tokens.constant > self.most_queries:
            return f"{tokens} queries of a row keep the blocks of threads busy"
        return None if op.attributes["merged"] else "its heads are not put side by side"
