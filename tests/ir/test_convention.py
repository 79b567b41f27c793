"""The calling convention: what its helpers say of programs, and that the runtime's copy of its names is equal."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

import graphwright.ir.convention
import graphwright.runtime.artifact.convention
from graphwright.ir import Dim, DType, Graph, Program, UnsupportedError, tensor
from graphwright.ir.attributes import Attribute
from graphwright.ir.convention import (
    CONTEXT_WINDOW,
    DECODER_INPUTS,
    VOCABULARY_SIZE,
    context_window,
    fixed_sizes,
    is_decoder,
    is_past,
    main_graph,
    present_of,
    state_names,
    step_graph,
    step_graphs,
    vocabulary_size,
)
from graphwright.ir.types import StateType
from graphwright.reporting.pipeline_report import Phase
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
    assert main_graph(cached) is cached.graphs["prefill"]
    assert main_graph(with_graphs("encode")) is None
    either = with_graphs("decode", "prefill")
    assert main_graph(either) is either.graphs["prefill"]


def phases(**sizes: dict[str, int]) -> Program:
    """A program whose graphs have inputs [B, S], [B, N] and [B, C], with these numbers for symbols."""
    program = with_graphs("encode", *sizes)
    for name, numbers in sizes.items():
        for other in ("S", "N", "C"):
            shape = [numbers.get(symbol, symbol) for symbol in ("B", other)]
            program.graphs[name].add_input(other.lower(), tensor(DType.F32, *shape, 4))
    return program


def test_a_step_runs_the_graph_that_is_made_for_most_of_its_sizes() -> None:
    program = phases(prefill={}, decode={"S": 1}, decode_one_row={"B": 1, "S": 1, "N": 1}, verify={"S": 4, "N": 4})
    graphs = step_graphs(program)
    assert [graph.name for graph in graphs] == ["prefill", "decode", "decode_one_row", "verify"]
    fixed = {graph.name: fixed_sizes(graph, program.graphs["prefill"]) for graph in graphs}
    assert fixed == {
        "prefill": {},
        "decode": {"S": 1},
        "decode_one_row": {"B": 1, "S": 1, "N": 1},
        "verify": {"S": 4, "N": 4},
    }
    for (batch, tokens, positions), name in {
        (1, 1, 1): "decode_one_row",
        (1, 1, 2): "decode",
        (3, 1, 1): "decode",
        (1, 4, 4): "verify",
        (5, 4, 4): "verify",
        (1, 4, 1): "prefill",
        (2, 7, 7): "prefill",
    }.items():
        assert step_graph(program, {"B": batch, "S": tokens, "N": positions}).name == name
    assert step_graph(phases(prefill={}), {"B": 1, "S": 1, "N": 1}).name == "prefill"


def test_decode_is_for_any_number_of_rows_whatever_its_graph_says() -> None:
    program = phases(prefill={}, decode={"B": 1, "S": 1})
    assert step_graph(program, {"B": 3, "S": 1, "N": 1}).name == "decode"


def test_a_size_is_fixed_only_where_the_general_graph_has_a_symbol() -> None:
    general, special = Graph("prefill"), Graph("decode")
    general.add_input("x", tensor(DType.F32, Dim.of("B") * 2, "S", 3))
    general.add_input("only", tensor(DType.F32, "T"))
    special.add_input("x", tensor(DType.F32, 2, 1, 3))
    assert fixed_sizes(special, general) == {"S": 1}


@pytest.mark.parametrize(("fact", "read"), [(CONTEXT_WINDOW, context_window), (VOCABULARY_SIZE, vocabulary_size)])
def test_facts_that_say_nothing_are_none(fact: str, read: Callable[[Program], int | None]) -> None:
    program = Program()
    assert read(program) is None
    values: list[tuple[Attribute, int | None]] = [(48, 48), (0, None), (-1, None), ("48", None), (4.5, None)]
    for value, known in values:
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
