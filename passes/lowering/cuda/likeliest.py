"""Greedy decoding on the device: the likeliest token beside the logits, which then need not leave it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from graphwright.ir.builder import Builder
from graphwright.ir.convention import LIKELIEST, LOGITS, is_decoder, step_graphs
from graphwright.ir.dialects.cuda.choosing import likeliest
from graphwright.ir.targets import Target
from graphwright.passes.base import handed_in, register
from graphwright.passes.lowering.cpu.kernel_pass import Context, KernelPass

RULE = likeliest.name


@register
@dataclass(frozen=True)
class AddLikeliest(KernelPass):
    """Each graph of a decoder gets the output `likeliest`, by `cuda.likeliest` of its logits."""

    target: Target = field(metadata=handed_in("cuda"))
    name: ClassVar[str] = "cuda-likeliest"
    findings: ClassVar[tuple[str, ...]] = (RULE,)

    def lower(self, context: Context) -> None:
        graph = context.graph
        if not is_decoder(context.program) or graph not in step_graphs(context.program) or LIKELIEST in graph.outputs:
            return
        logits = graph.outputs[LOGITS]
        new = Builder(graph, location=LIKELIEST).op(likeliest, logits)
        graph.outputs = {LOGITS: logits, LIKELIEST: new.result} | graph.outputs
        context.hit(RULE, new)
