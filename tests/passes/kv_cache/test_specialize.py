"""Phases of a program: which graphs are made, at which sizes, and that proof and price treat them as their own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from graphwright.ir import Builder, DType, PassError, Program, clone_graph, ops, print_graph
from graphwright.ir.dims import Dim
from graphwright.ir.machines import MACHINES
from graphwright.passes import parse_passes, run_passes
from graphwright.passes.kv_cache.specialize import Specialize
from graphwright.passes.proving import InterpreterProver, ProofError
from graphwright.reporting.pipeline_report import Workload
from graphwright.reporting.pricing import phases, price_program
from tests.backends.models import LLAMA, decoder
from tests.passes.proving.faults import Spoils, attribute

ALL = "specialize{one_row=true, verify=3}"


def test_the_text_of_its_options() -> None:
    assert parse_passes(ALL) == [Specialize(one_row=True, verify=3)]
    assert str(Specialize(one_row=True, verify=3)) == ALL
    assert str(Specialize()) == "specialize"


def test_graphs_are_prefill_at_their_sizes() -> None:
    program = decoder(LLAMA)
    del program.graphs["decode"]
    (record,) = run_passes(program, parse_passes(ALL)).records
    assert record.hits == {"decode": 1, "decode_one_row": 1, "verify": 1}
    sizes: dict[str, dict[str, Dim | int]] = {
        "decode": {"S": 1},
        "decode_one_row": {"B": 1, "S": 1, "N": 1},
        "verify": {"S": 3, "N": 3},
    }
    assert list(program.graphs) == ["prefill", *sizes]
    for name, numbers in sizes.items():
        expected = clone_graph(program.graphs["prefill"], name, numbers)
        assert print_graph(program.graphs[name]) == print_graph(expected)
    assert str(program.graphs["decode_one_row"].outputs["logits"].type) == "f32[1, 1, 48]"


def test_batches_have_graphs_of_their_own() -> None:
    program = decoder(LLAMA)
    run_passes(program, parse_passes("specialize{one_row=true, rows=4}"))
    assert list(program.graphs) == ["prefill", "decode", "decode_one_row", "decode_2_rows", "decode_4_rows"]
    expected = clone_graph(program.graphs["decode"], "decode_4_rows", {"B": 4, "S": 1, "N": 1})
    assert print_graph(program.graphs["decode_4_rows"]) == print_graph(expected)
    with pytest.raises(PassError, match="rows is 3; it must be 2, 4, 8, 16, or 0"):
        run_passes(program, [Specialize(rows=3)])


def test_the_variant_for_one_row_is_made_of_decode_as_it_is() -> None:
    program = decoder(LLAMA)
    decode = program.graphs["decode"]
    decode.outputs["logits"] = Builder(decode)(ops.mul, decode.outputs["logits"], 1.0)
    run_passes(program, [Specialize(one_row=True)])
    assert len(program.graphs["decode_one_row"]) == len(decode) > len(program.graphs["prefill"])


def test_what_is_there_stays() -> None:
    program = decoder(LLAMA)
    decode = program.graphs["decode"]
    first, second = run_passes(program, parse_passes(f"{ALL}, {ALL}")).records
    assert first.hits == {"decode_one_row": 1, "verify": 1}
    assert not second.changed
    assert program.graphs["decode"] is decode


@pytest.mark.parametrize(
    ("passes", "message"),
    [
        ("specialize{verify=1}", "verify is 1; it must be at least 2 tokens, or 0 for no such graph"),
        ("specialize{verify=-3}", "verify is -3; it must be at least 2 tokens"),
        (f"{ALL}, specialize{{verify=4}}", "a graph 'verify' already, and it is for S = 3, N = 3"),
    ],
)
def test_what_cannot_be_made_is_refused(passes: str, message: str) -> None:
    with pytest.raises(PassError, match=message):
        run_passes(decoder(LLAMA), parse_passes(passes))


def test_every_graph_is_proven() -> None:
    prover = InterpreterProver()
    report = run_passes(decoder(LLAMA), parse_passes(f"{ALL}, canonicalize"), prover=prover)
    assert {record.proof.status for record in report.records if record.proof} <= {"proven", "exact"}
    assert prover.notes == []


@pytest.mark.parametrize("graph", ["prefill", "decode", "decode_one_row", "verify"])
def test_a_fault_in_one_graph_is_found_there(graph: str) -> None:
    program = decoder(LLAMA)
    run_passes(program, parse_passes(ALL))
    with pytest.raises(ProofError) as caught:
        run_passes(program, [Spoils(attribute(ops.attention, graph, 1, scale=0.3))], prover=InterpreterProver())
    assert (caught.value.op, caught.value.location) == ("attention", "layers.1")
    assert graph == "prefill" or f" at {graph}, " in str(caught.value)


def wrong_at(tokens: int) -> Callable[[Program], None]:
    """A fault of `prefill` that shows in steps of so many tokens alone."""

    def spoil(program: Program) -> None:
        graph = program.graphs["prefill"]
        build = Builder(graph, None, "head")
        length = build(ops.dim_value, value=Dim.of("S"))
        wrong = build(ops.cast, build(ops.eq, length, tokens), dtype=DType.F32)
        graph.outputs["logits"] = build(ops.add, graph.outputs["logits"], wrong)

    return spoil


def test_one_graph_for_all_phases_is_proven_and_priced_for_single_tokens_too() -> None:
    program = decoder(LLAMA)
    workload = Workload(batch=1, prefill_length=5, decode_context=20)
    apart = price_program(program, workload, MACHINES["h100"])
    run_passes(program, parse_passes("merge-phases"), prover=InterpreterProver())
    assert list(program.graphs) == ["prefill"]
    assert price_program(program, workload, MACHINES["h100"]) == apart
    (run,) = phases(program, workload)["decode"]
    assert (run.graph.name, run.bindings["S"], run.bindings["C"]) == ("prefill", 1, 20)
    with pytest.raises(ProofError, match="at decode, row 2"):
        run_passes(program, [Spoils(wrong_at(1))], prover=InterpreterProver())


@pytest.mark.parametrize(("batch", "graph"), [(1, "decode_one_row"), (2, "decode")])
def test_decode_is_priced_by_the_graph_that_runs(batch: int, graph: str) -> None:
    program = decoder(LLAMA)
    workload = Workload(batch=batch, prefill_length=5, decode_context=20)
    before = price_program(program, workload, None)
    run_passes(program, parse_passes(ALL))
    assert [run.graph.name for run in phases(program, workload)["decode"]] == [graph]
    assert price_program(program, workload, None) == before
