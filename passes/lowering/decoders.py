"""The graphs of a program as an artifact has them: one for all phases or one for each, float32 logits, a named context
length.

A plain function stays as it is.
"""

from __future__ import annotations

import difflib
import itertools
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
    STEPS,
    fixed_sizes,
    is_decoder,
    state_names,
    step_graphs,
)
from graphwright.ir.program import substitute_type
from graphwright.ir.rewriting import Outcome
from graphwright.passes.base import Pass, register
from graphwright.passes.kv_cache.specialize import Specialize


@register
@dataclass(frozen=True)
class MergePhases(Pass):
    """Drops `decode` and other phases: `prefill`, with free sizes, takes their steps as well. It must be the same.

    Raises `UserError` where it is not.
    """

    name: ClassVar[str] = "merge-phases"
    findings: ClassVar[tuple[str, ...]] = ("phase-merged",)

    def run(self, program: Program) -> Outcome:
        outcome = Outcome()
        if is_decoder(program):
            general = program.graphs[PREFILL]
            for graph in step_graphs(program):
                if graph is not general:
                    _check_same(general, graph)
                    del program.graphs[graph.name]
                    outcome.count("phase-merged", 1)
            program.erase_unused_weights()
        return outcome


@register
@dataclass(frozen=True)
class DecoderGraphs(Pass):
    """Refuses what is no decoder and no plain function, and phases that exchange anything else than `prefill` does.

    Raises `UserError`, changes nothing.
    """

    name: ClassVar[str] = "decoder-graphs"

    def run(self, program: Program) -> Outcome:
        if is_decoder(program):
            _check_decoder(program, program.graphs[PREFILL])
            for graph in step_graphs(program):
                _check_exchange(program.graphs[PREFILL], graph)
            _check_graphs(program)
        else:
            _check_function(program)
        return Outcome()


@register
@dataclass(frozen=True)
class Float32Logits(Pass):
    """Casts the logits of a decoder to float32, in which the runtime chooses among them."""

    name: ClassVar[str] = "float32-logits"
    findings: ClassVar[tuple[str, ...]] = ("logits-cast",)

    def run(self, program: Program) -> Outcome:
        outcome = Outcome()
        if is_decoder(program):
            for graph in step_graphs(program):
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


INTERFACE: tuple[Pass, ...] = (DecoderGraphs(), Float32Logits(), NameContextLength())
ONE_GRAPH: tuple[Pass, ...] = (MergePhases(), *INTERFACE)
"""For a target that runs one graph for all phases."""
PHASES: tuple[Pass, ...] = (Specialize(one_row=True), *INTERFACE)
"""For a target that runs a graph for each phase of a decoder, and one of its own for a batch of one row."""


def phases_of(rows: int, verify: int) -> tuple[Pass, ...]:
    """For a target that has also graphs of its own for batches of up to so many rows, and for `verify` tokens."""
    return (Specialize(one_row=True, rows=rows, verify=verify), *INTERFACE)


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


def _check_same(prefill: Graph, phase: Graph) -> None:
    one = print_graph(clone_graph(prefill, phase.name, dict(fixed_sizes(phase, prefill)))).splitlines()
    other = print_graph(phase).splitlines()
    if one == other:
        return
    changes = [line for line in difflib.ndiff(one, other) if line[0] in "+-"]
    raise UserError(
        f"graphs '{PREFILL}' and '{phase.name}' differ in more than the number of tokens, but the target runs one "
        f"graph for both; first difference: {changes[0].strip()}"
    )


def _check_exchange(prefill: Graph, phase: Graph) -> None:
    sizes = fixed_sizes(phase, prefill)
    for what, general, own in (
        ("inputs", {str(v.name): v for v in prefill.inputs}, {str(v.name): v for v in phase.inputs}),
        ("outputs", prefill.outputs, phase.outputs),
    ):
        wanted = [(name, substitute_type(value.type, sizes)) for name, value in general.items()]
        found = [(name, value.type) for name, value in own.items()]
        for given, other in itertools.zip_longest(found, wanted):
            if given != other:
                there, here = ("none" if each is None else f"'{each[0]}' {each[1]}" for each in (other, given))
                raise UserError(
                    f"graph '{phase.name}': its {what} must be those of '{PREFILL}', in their order: "
                    f"{there} is expected, found {here}"
                )


def _check_graphs(program: Program) -> None:
    others = [name for name in program.graphs if name not in (ENCODE, *STEPS)]
    if others:
        raise UserError(f"program '{program.name}' has a graph '{others[0]}', which no phase of a decoder runs")


def _check_function(program: Program) -> None:
    if list(program.graphs) != [FORWARD]:
        names = ", ".join(program.graphs) or "none"
        raise UserError(
            f"program '{program.name}' has the graphs {names}; expected {PREFILL} and {DECODE}, or {FORWARD}"
        )
    if any(isinstance(v.type, StateType) for v in program.graphs[FORWARD].inputs):
        raise UserError(f"graph '{FORWARD}' has a cache; only the graphs {PREFILL} and {DECODE} can")
