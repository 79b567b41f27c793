"""The graphs of a program as an artifact has them: one for all phases, float32 logits, a named context length.

A plain function stays as it is.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import Builder, Dim, DType, Graph, Program, StateType, UserError, clone_graph, ops, print_graph
from graphwright.ir.convention import (
    CONTEXT_LENGTH,
    DECODE,
    DECODER_INPUTS,
    ENCODE,
    FORWARD,
    LOGITS,
    PREFILL,
    SEQUENCE,
    SOURCE_SEQUENCE,
    is_decoder,
    state_names,
)
from graphwright.ir.rewriting import Outcome
from graphwright.passes.base import Pass, register


@register
@dataclass(frozen=True)
class MergePhases(Pass):
    """Drops `decode`: `prefill`, with a free number of new tokens, takes one as well. The two must be the same.

    Raises `UserError` where they are not, where inputs and outputs are not those of a decoder, or where graphs are
    those of neither a decoder nor a plain function.
    """

    name: ClassVar[str] = "merge-phases"
    findings: ClassVar[tuple[str, ...]] = ("decode-merged",)

    def run(self, program: Program) -> Outcome:
        outcome = Outcome()
        if not is_decoder(program):
            _check_function(program)
            return outcome
        graph = program.graphs[PREFILL]
        decode = program.graphs.get(DECODE)
        if decode is not None:
            _check_same(graph, decode)
            outcome.count("decode-merged", 1)
        _check_decoder(program, graph)
        kept = (ENCODE, PREFILL)
        program.graphs = {name: program.graphs[name] for name in kept if name in program.graphs}
        program.erase_unused_weights()
        return outcome


@register
@dataclass(frozen=True)
class Float32Logits(Pass):
    """Casts the logits of a decoder to float32, in which the runtime chooses among them."""

    name: ClassVar[str] = "float32-logits"
    findings: ClassVar[tuple[str, ...]] = ("logits-cast",)

    def run(self, program: Program) -> Outcome:
        outcome = Outcome()
        if is_decoder(program):
            graph = program.graphs[PREFILL]
            logits = graph.outputs[LOGITS]
            if logits.tensor.dtype is not DType.F32:
                graph.outputs[LOGITS] = Builder(graph, location=LOGITS)(ops.cast, logits, dtype=DType.F32)
                outcome.count("logits-cast", 1)
        return outcome


@register
@dataclass(frozen=True)
class NameContextLength(Pass):
    """The length of what `encode` takes gets the name that it has beside the tokens: T, where it was S.

    Raises `UserError` where there is not one context, or where the outputs of `encode` are not what `prefill` takes.
    """

    name: ClassVar[str] = "name-context-length"
    findings: ClassVar[tuple[str, ...]] = ("context-length-named",)

    def run(self, program: Program) -> Outcome:
        outcome = Outcome()
        if not is_decoder(program) or ENCODE not in program.graphs:
            return outcome
        graph = clone_graph(program.graphs[ENCODE], ENCODE, {SEQUENCE: Dim.of(SOURCE_SEQUENCE)})
        contexts = [str(v.name) for v in graph.inputs if v.name != CONTEXT_LENGTH]
        if len(contexts) != 1:
            raise UserError(f"graph '{ENCODE}' encodes {', '.join(contexts) or 'nothing'}; it must be one context")
        expected = {v.name: v.type for v in program.graphs[PREFILL].inputs}
        for name, value in graph.outputs.items():
            if value.type != expected.get(name):
                raise UserError(
                    f"graph '{ENCODE}': '{name}' is {value.type}, graph '{PREFILL}' takes {expected.get(name)}"
                )
        program.graphs[ENCODE] = graph
        outcome.count("context-length-named", 1)
        return outcome


ONE_GRAPH: tuple[Pass, ...] = (MergePhases(), Float32Logits(), NameContextLength())
"""For a target that runs one graph for all phases."""


def _check_decoder(program: Program, graph: Graph) -> None:
    plain = [str(v.name) for v in graph.inputs if not isinstance(v.type, StateType)]
    given = program.graphs[ENCODE].outputs if ENCODE in program.graphs else {}
    taken = [*DECODER_INPUTS, *given]
    if given and CONTEXT_LENGTH in plain:
        taken.append(CONTEXT_LENGTH)
    if sorted(plain) != sorted(taken):
        raise UserError(f"graph '{PREFILL}': its inputs are {', '.join(plain)}, expected {', '.join(taken)}")
    expected = {LOGITS, *state_names(graph).values()}
    if set(graph.outputs) != expected:
        raise UserError(
            f"graph '{PREFILL}': its outputs are {', '.join(graph.outputs)}, expected {', '.join(sorted(expected))}"
        )


def _check_same(prefill: Graph, decode: Graph) -> None:
    one = print_graph(clone_graph(prefill, DECODE, {SEQUENCE: 1})).splitlines()
    other = print_graph(decode).splitlines()
    if one == other:
        return
    changes = [line for line in difflib.ndiff(one, other) if line[0] in "+-"]
    raise UserError(
        f"graphs '{PREFILL}' and '{DECODE}' differ in more than the number of tokens, but the target runs one graph "
        f"for both; first difference: {changes[0].strip()}"
    )


def _check_function(program: Program) -> None:
    if list(program.graphs) != [FORWARD]:
        names = ", ".join(program.graphs) or "none"
        raise UserError(
            f"program '{program.name}' has the graphs {names}; expected {PREFILL} and {DECODE}, or {FORWARD}"
        )
    if any(isinstance(v.type, StateType) for v in program.graphs[FORWARD].inputs):
        raise UserError(f"graph '{FORWARD}' has a cache; only the graphs {PREFILL} and {DECODE} can")
