"""Logits only where they are asked for: the head is a small model's largest product, and prefill needs one row."""

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import Builder, Dim, DType, Graph, Program, TensorType, Value, clone_graph, ops
from graphwright.ir.convention import BATCH, LOGIT_POSITIONS, LOGITS, POSITIONS, PREFILL, SEQUENCE
from graphwright.ir.rewriting import Outcome
from graphwright.ir.traits import Trait
from graphwright.passes.base import Pass, PassError, has_prefill, register


@register
@dataclass(frozen=True)
class SelectLogits(Pass):
    """New input logit_positions, i64 [B, N]: which of the S new tokens want logits, which become [B, N, vocabulary].

    The choice moves from the logits towards the input as far as each op treats tokens by themselves, so that final norm
    and head compute for the chosen tokens alone. Generation asks for the last one, scoring for all.
    """

    name: ClassVar[str] = "select-logits"
    findings: ClassVar[tuple[str, ...]] = ("moved-past",)
    requires = (has_prefill,)

    def run(self, program: Program) -> Outcome:
        graph = program.graphs[PREFILL]
        if any(v.name == LOGIT_POSITIONS for v in graph.inputs):
            raise PassError(f"select-logits: the graph has an input '{LOGIT_POSITIONS}' already")
        head = _token_wise_tail(graph)
        program.graphs[PREFILL] = _rebuild(graph, head)
        outcome = Outcome()
        for value in head:
            outcome.hit("moved-past", value.owner)
        return outcome


def _token_wise_tail(graph: Graph) -> list[Value]:
    """The chain of values before the logits, nearest first, each made from the next by an op on single tokens."""
    chain: list[Value] = []
    value = graph.outputs[LOGITS]
    sequence = Dim.of(SEQUENCE)
    while value.owner is not None and value.type.rank == 3:
        op = value.owner
        data = [v for v in op.inputs if sequence in v.type.shape]
        if len(op.results) != 1 or len(data) != 1 or len(value.users) > 1:
            break
        index = op.inputs.index(data[0])
        flow = op.definition.axis_flow(op)[index]
        if data[0].type.rank != 3 or flow[:2] != (0, 1) or data[0].type.shape[1] is not sequence:
            break
        by_length = any(sequence in getattr(a, "symbols", ()) for a in op.attributes.values())
        if by_length or op.definition.has(Trait.SHAPED):
            break
        chain.append(value)
        value = data[0]
    return chain


def _rebuild(graph: Graph, chain: list[Value]) -> Graph:
    """A copy of the graph in which the tokens are chosen in front of the chain."""
    copy = clone_graph(graph, graph.name)
    logits = copy.outputs[LOGITS]
    positions = copy.add_input(LOGIT_POSITIONS, TensorType(DType.I64, (Dim.of(BATCH), Dim.of(POSITIONS))))
    tail = [logits]
    for _ in chain:
        owner = tail[-1].owner
        assert owner is not None
        tail.append(next(v for v in owner.inputs if Dim.of(SEQUENCE) in v.type.shape))
    source = tail.pop()
    build = Builder(copy, None, source.owner.location if source.owner else "")
    chosen = build(ops.take_tokens, source, positions)
    for value in reversed(tail):
        op = value.owner
        assert op is not None
        operands = [chosen if v is source else v for v in op.operands]
        new = copy.insert(op.definition, operands, op.attributes, location=op.location).result
        source, chosen = value, new
    copy.outputs[LOGITS] = chosen
    copy.erase_dead()
    return copy
