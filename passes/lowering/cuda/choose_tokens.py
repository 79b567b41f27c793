"""Choosing tokens on the device: they are an output beside the logits, which then need not leave it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from graphwright.ir.builder import Builder
from graphwright.ir.convention import (
    CHOSEN,
    LENGTH_AFTER,
    LOGIT_POSITIONS,
    LOGITS,
    NEW_LENGTH,
    PAST_LENGTH,
    SAMPLING,
    SAMPLING_KEY,
    is_decoder,
    step_graphs,
)
from graphwright.ir.dialects.cuda.choosing import choose_tokens, next_length
from graphwright.ir.dims import Dim
from graphwright.ir.targets import Target
from graphwright.ir.types import DType, TensorType
from graphwright.passes.base import handed_in, register
from graphwright.passes.lowering.cpu.kernel_pass import Context, KernelPass

RULE = choose_tokens.name


@register
@dataclass(frozen=True)
class ChooseTokens(KernelPass):
    """Each graph of a decoder gets the outputs `chosen`, by `cuda.choose_tokens` of its logits, and `length_after`."""

    target: Target = field(metadata=handed_in("cuda"))
    name: ClassVar[str] = "cuda-choose-tokens"
    findings: ClassVar[tuple[str, ...]] = (RULE,)

    def lower(self, context: Context) -> None:
        graph = context.graph
        if not is_decoder(context.program) or graph not in step_graphs(context.program) or CHOSEN in graph.outputs:
            return
        given = {str(value.name): value for value in graph.inputs}
        logits, past = graph.outputs[LOGITS], given[PAST_LENGTH]
        batch = logits.type.shape[0]
        sampling = graph.add_input(SAMPLING, TensorType(DType.F32, (batch, Dim.of(4))))
        key = graph.add_input(SAMPLING_KEY, TensorType(DType.I64, (batch, Dim.of(2))))
        new = Builder(graph, location=CHOSEN).op(choose_tokens, logits, past, given[LOGIT_POSITIONS], sampling, key)
        length = Builder(graph, location=LENGTH_AFTER)(next_length, past, given[NEW_LENGTH], new.result)
        graph.outputs = {LOGITS: logits, CHOSEN: new.result, LENGTH_AFTER: length} | graph.outputs
        context.hit(RULE, new)
