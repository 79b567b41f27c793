"""Context apart from tokens: what an encoder makes of its input is computed once, not at every step.

An encoder-decoder model is captured as one graph from the context (source tokens, audio features, an image) and the
tokens so far to logits. What depends on the context alone becomes the graph `encode`; the values of it that the tokens
meet (the keys and values of cross-attention) are its results, and inputs of what is left.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import Dim, Graph, Op, Program, Value, clone_graph
from graphwright.ir.convention import CONTEXT, DECODER_INPUT_IDS, ENCODE, FORWARD, INPUT_IDS, SEQUENCE, SOURCE_SEQUENCE
from graphwright.ir.rewriting import Outcome
from graphwright.passes.base import Pass, PassError, has_forward, register
from graphwright.passes.raising.probing import positional_values


@register
@dataclass(frozen=True)
class SplitContext(Pass):
    """A graph with decoder_input_ids becomes `encode`, context to `context.N`, and `forward`, those and input_ids on.

    In `encode` the context's length is S; in `forward` it is T, and S is that of the tokens. Other graphs stay.
    """

    name: ClassVar[str] = "split-context"
    findings: ClassVar[tuple[str, ...]] = ("context",)
    requires = (has_forward,)

    def run(self, program: Program) -> Outcome:
        whole = program.graphs[FORWARD]
        tokens = next((v for v in whole.inputs if v.name == DECODER_INPUT_IDS), None)
        if tokens is None:
            return Outcome()
        length = tokens.type.shape[-1]
        if length.terms != (((str(length),), 1),) or any(
            length in v.type.shape for v in whole.inputs if v is not tokens
        ):
            raise PassError(
                f"split-context: {DECODER_INPUT_IDS} {tokens.type} and the context must have lengths of their own; "
                "capture with examples of different lengths"
            )
        swapped = {SEQUENCE: Dim.of(SOURCE_SEQUENCE), str(length): Dim.of(SEQUENCE)}
        split = _Split(whole, tokens)
        program.graphs = {
            **{name: graph for name, graph in program.graphs.items() if name != FORWARD},
            ENCODE: split.encode(),
            FORWARD: clone_graph(split.decode(), FORWARD, swapped),
        }
        outcome = Outcome()
        for value in split.frontier:
            outcome.hit("context", value.owner)
        return outcome


class _Split:
    """The two halves of a graph, by whether a value depends on the tokens."""

    def __init__(self, whole: Graph, tokens: Value) -> None:
        self.whole = whole
        self.tokens = tokens
        self.is_constant = positional_values(whole)
        self.is_free = positional_values(whole, [tokens])
        met = (v for op in whole if not self.is_free(op.results[0]) for v in op.inputs)
        self.frontier = {v: f"{CONTEXT}{i}" for i, v in enumerate(dict.fromkeys(filter(self.is_context, met)))}
        for name, value in whole.outputs.items():
            if self.is_free(value):
                raise PassError(f"split-context: the output '{name}' does not depend on {DECODER_INPUT_IDS}")

    def is_context(self, value: Value) -> bool:
        return self.is_free(value) and not self.is_constant(value)

    def encode(self) -> Graph:
        graph = Graph(ENCODE)
        known = {v: graph.add_input(str(v.name), v.type) for v in self.whole.inputs if v is not self.tokens}
        values = _copied(self.whole, graph, known, [op for op in self.whole if self.is_free(op.results[0])])
        graph.outputs = {name: values[v] for v, name in self.frontier.items()}
        graph.erase_dead()
        return graph

    def decode(self) -> Graph:
        graph = Graph(FORWARD)
        known = {self.tokens: graph.add_input(INPUT_IDS, self.tokens.type)}
        for value, name in self.frontier.items():
            known[value] = graph.add_input(name, value.type)
        values = _copied(self.whole, graph, known, [op for op in self.whole if not self.is_context(op.results[0])])
        graph.outputs = {name: values[v] for name, v in self.whole.outputs.items()}
        graph.erase_dead()
        return graph


def _copied(source: Graph, target: Graph, known: Mapping[Value, Value], ops: list[Op]) -> dict[Value, Value]:
    values = {v: target.weight(v.weight) for v in source.weights if v.weight is not None} | dict(known)
    for op in ops:
        operands = [None if v is None else values[v] for v in op.operands]
        new = target.insert(op.definition, operands, op.attributes, location=op.location)
        values.update(zip(op.results, new.results, strict=True))
    return values
