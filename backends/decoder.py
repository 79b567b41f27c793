"""Which graphs of a program are lowered: a decoder's, one for prefill and decode, or that of a plain function."""

from __future__ import annotations

import difflib

from graphwright.ir import ops
from graphwright.ir.builder import Builder
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
    state_names,
)
from graphwright.ir.dims import Dim
from graphwright.ir.errors import UserError
from graphwright.ir.graph import Graph
from graphwright.ir.program import Program, clone_graph
from graphwright.ir.text import print_graph
from graphwright.ir.types import DType, StateType


def decoder_graph(program: Program) -> Graph:
    """The prefill graph as a graph for both phases, with float32 logits; changes it in place.

    A graph with a dynamic number of new tokens also takes one, so decode needs no graph of its own as long as it is
    the same computation. Raises `UserError` where it is not, or where inputs and outputs are not those of a decoder.
    """
    graph = program.graphs[PREFILL]
    decode = program.graphs.get(DECODE)
    if decode is not None:
        _check_same(graph, decode)
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
    logits = graph.outputs[LOGITS]
    if logits.tensor.dtype is not DType.F32:
        graph.outputs[LOGITS] = Builder(graph, location=LOGITS)(ops.cast, logits, dtype=DType.F32)
    return graph


def encoder_graph(program: Program) -> Graph | None:
    """A copy of the graph `encode`, whose context is as long as the decoder's graph says; None if there is none.

    Raises `UserError` where there is not one context, or where its outputs are not what that graph takes.
    """
    encode = program.graphs.get(ENCODE)
    if encode is None:
        return None
    graph = clone_graph(encode, ENCODE, {SEQUENCE: Dim.of(SOURCE_SEQUENCE)})
    contexts = [str(v.name) for v in graph.inputs if v.name != CONTEXT_LENGTH]
    if len(contexts) != 1:
        raise UserError(f"graph '{ENCODE}' encodes {', '.join(contexts) or 'nothing'}; it must be one context")
    expected = {v.name: v.type for v in program.graphs[PREFILL].inputs}
    for name, value in graph.outputs.items():
        if value.type != expected.get(name):
            raise UserError(f"graph '{ENCODE}': '{name}' is {value.type}, graph '{PREFILL}' takes {expected.get(name)}")
    return graph


def _check_same(prefill: Graph, decode: Graph) -> None:
    one = print_graph(clone_graph(prefill, DECODE, {SEQUENCE: 1})).splitlines()
    other = print_graph(decode).splitlines()
    if one == other:
        return
    changes = [line for line in difflib.ndiff(one, other) if line[0] in "+-"]
    raise UserError(
        "graphs 'prefill' and 'decode' differ in more than the number of tokens, but an ONNX artifact holds one graph "
        f"for both; first difference: {changes[0].strip()}"
    )


def function_graph(program: Program) -> Graph:
    """The graph of a program that is a plain function. Raises `UserError` where it is something else."""
    if list(program.graphs) != [FORWARD]:
        names = ", ".join(program.graphs) or "none"
        raise UserError(f"program '{program.name}' has the graphs {names}; expected prefill and decode, or {FORWARD}")
    graph = program.graphs[FORWARD]
    if any(isinstance(v.type, StateType) for v in graph.inputs):
        raise UserError(f"graph '{FORWARD}' has a cache; only the graphs prefill and decode can")
    return graph
