"""What the lowering passes make of whole decoders."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from graphwright.backends.tvm.library import CPU
from graphwright.ir import Graph, Program, clone_graph, ops, print_graph
from graphwright.ir.declare import OpDef
from graphwright.passes import run_passes
from graphwright.passes.lowering.cpu import cpu_lowering
from tests.backends.models import LLAMA, MODELS, Shape, decoder
from tests.backends.quantizing import Scheme, quantized

ONE = replace(LLAMA, layers=1)


def fused(program: Program) -> Counter[str]:
    """The ops of the dialect in prefill after the passes."""
    run_passes(program, cpu_lowering(CPU))
    return Counter(op.name for op in program.graphs["prefill"] if op.name.startswith("cpu."))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (ONE, {"rotary_table": 1, "rotary_append": 1, "attention": 1, "add_rms_norm": 1, "gated_columns": 1}),
        # Norms of queries and keys stand between, projections of their own are in no one row.
        *(
            (shape, {"rotary_table": 1, "rotary_embedding": 2, "attention": 1, "add_rms_norm": 1, "gated_columns": 1})
            for shape in (replace(ONE, qk_norm=True), replace(ONE, packed=False))
        ),
        (replace(MODELS["gpt2"], layers=1), {"rotary_append": 1, "attention": 1, "add_layer_norm": 2}),
    ],
)
def test_layers_are_of_kernels(shape: Shape, expected: dict[str, int]) -> None:
    assert fused(decoder(shape)) == {f"cpu.{name}": count for name, count in expected.items()}


def test_rounding_goes_into_products() -> None:
    program = quantized(decoder(ONE), Scheme("i4", 32, 32))
    assert fused(program)["cpu.rounded_linear"] == 5
    assert not [op for op in program.graphs["prefill"] if op.definition in (ops.fake_quantize, ops.linear)]


def test_lowering_for_one_token_is_lowering_and_then_one_token() -> None:
    before = decoder(LLAMA)
    one = {"B": 1, "S": 1, "N": 1}
    special = before.clone()
    special.graphs = {"step": clone_graph(special.graphs["prefill"], "step", one, special.weights)}
    run_passes(before, cpu_lowering(CPU))
    run_passes(special, cpu_lowering(CPU))
    assert print_graph(special.graphs["step"]) == print_graph(clone_graph(before.graphs["prefill"], "step", one))


def graph_of(program: Program) -> Graph:
    program.graphs = {"prefill": program.graphs["prefill"]}
    return program.graphs["prefill"]


@pytest.mark.parametrize("between", [ops.split, ops.split_heads, ops.rope, ops.attention])
@pytest.mark.parametrize("output", [True, False])
def test_what_is_between_must_be_read_by_nobody_else(between: OpDef, output: bool) -> None:
    program = decoder(ONE)
    graph = graph_of(program)
    op = next(op for op in graph if op.definition is between)
    value = op.results[-1]
    graph.outputs["seen"] = value if output else graph.insert(ops.neg, [value], {}).result
    found = fused(program)
    # Turned queries are what the kernel gives; heads that are not put side by side are what attention gives.
    assert found["cpu.rotary_append"] == (between in (ops.rope, ops.attention))
    attention = next(op for op in graph if op.name == "cpu.attention")
    assert attention.attributes["merged"] == (between is not ops.attention)


def test_queries_that_are_read_before_keys_are_kept_stay() -> None:
    program = decoder(ONE)
    graph = graph_of(program)
    query = next(op for op in graph if op.definition is ops.rope)
    append = next(op for op in graph if op.definition is ops.kv_append)
    graph.outputs["early"] = graph.insert(ops.neg, [query.result], {}, before=append).result
    report = run_passes(program, cpu_lowering(CPU))
    assert report.hits["cpu.rotary_append"] == 0
    assert "neg reads what cpu.rotary_embedding gives before keys and values are kept" in {
        miss.reason for miss in report.near_misses
    }
