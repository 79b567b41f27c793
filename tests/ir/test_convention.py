"""The calling convention: what its helpers say of programs, and that the runtime's copy of its names is equal."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

import pytest

import graphwright.ir.convention
import graphwright.runtime.artifact.convention
from graphwright.ir import Dim, DType, Graph, Program, UnsupportedError, tensor
from graphwright.ir.convention import (
    CONTEXT_WINDOW,
    DECODER_INPUTS,
    VOCABULARY_SIZE,
    context_window,
    is_decoder,
    is_past,
    main_graph,
    present_of,
    state_names,
    step_graph,
    vocabulary_size,
)
from graphwright.ir.types import StateType
from graphwright.pipeline_report import Phase
from graphwright.runtime.artifact.program import DECODER_INPUT_RANKS


def names_of(module: object) -> dict[str, object]:
    return {name: value for name, value in vars(module).items() if name.isupper()}


def with_graphs(*names: str) -> Program:
    program = Program()
    for name in names:
        program.add_graph(Graph(name))
    return program


def test_the_runtimes_copy_is_equal() -> None:
    ours, theirs = map(names_of, (graphwright.ir.convention, graphwright.runtime.artifact.convention))
    assert theirs
    assert theirs == {name: ours[name] for name in theirs}
    assert tuple(DECODER_INPUT_RANKS) == DECODER_INPUTS


def test_phases_of_a_report_are_called_as_the_graphs() -> None:
    assert get_args(Phase) == ("prefill", "decode", "forward")
    assert set(get_args(Phase)) <= set(names_of(graphwright.ir.convention).values())


@pytest.mark.parametrize("file", [graphwright.ir.convention.__file__])
def test_every_name_is_explained(file: str) -> None:
    body = ast.parse(Path(file).read_text(encoding="utf-8")).body
    bare = [
        ast.unparse(node.target)
        for node, behind in zip(body, [*body[1:], None], strict=True)
        if isinstance(node, ast.AnnAssign)
        and not (isinstance(behind, ast.Expr) and isinstance(behind.value, ast.Constant))
    ]
    assert not bare


def test_the_graph_that_answers() -> None:
    captured, cached = with_graphs("forward"), with_graphs("encode", "prefill")
    assert not is_decoder(captured)
    assert is_decoder(cached)
    assert main_graph(captured) is captured.graphs["forward"]
    assert main_graph(cached) is step_graph(cached) is cached.graphs["prefill"]
    assert main_graph(with_graphs("encode")) is None
    phases = with_graphs("prefill", "decode")
    assert step_graph(phases) is phases.graphs["decode"]
    assert main_graph(phases) is phases.graphs["prefill"]


@pytest.mark.parametrize(("fact", "read"), [(CONTEXT_WINDOW, context_window), (VOCABULARY_SIZE, vocabulary_size)])
def test_facts_that_say_nothing_are_none(fact: str, read: type[int]) -> None:
    program = Program()
    assert read(program) is None
    for value, known in ((48, 48), (0, None), (-1, None), ("48", None), (4.5, None)):
        program.metadata[fact] = value
        assert read(program) == known


def test_names_of_states() -> None:
    graph = Graph("prefill")
    cache = StateType("contiguous", tensor(DType.F32, "B", 2, "C", 4))
    graph.add_input("input_ids", tensor(DType.I64, "B", "S"))
    graph.add_input("past.0.key", cache)
    graph.add_input("past.1.past.key", cache)
    assert state_names(graph) == {"past.0.key": "present.0.key", "past.1.past.key": "present.1.past.key"}
    assert present_of("past.1.past.key") == "present.1.past.key"
    assert [is_past(name) for name in ("past.0.key", "past_length", "present.0.key", None)] == [True, *[False] * 3]
    graph.add_input("memory", StateType("recurrent", tensor(DType.F32, Dim.of("B"), 4)))
    with pytest.raises(UnsupportedError, match=r"graph 'prefill': a state 'memory' that is not a cache named past\.…"):
        state_names(graph)
