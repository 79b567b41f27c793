"""Which fusions lowering makes, what it says where it does not, and that it keeps the meaning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from graphwright.ir import Builder, Graph, Op, Program, Value, ops
from graphwright.ir.dialects.ort import capabilities
from graphwright.ir.interpreter import Interpreter
from graphwright.ir.rewriting import Outcome
from graphwright.ir.types import DType
from tests.backends.models import LLAMA, MODELS, Shape, decoder
from tests.passes.lowering.ort.lowered import lower_program


def _lowered(shape: Shape, change: Callable[[Graph], None] | None = None) -> tuple[Program, Graph, Outcome]:
    program = decoder(shape)
    graph = program.graphs.pop("prefill")
    if change is not None:
        change(graph)
    program.graphs = {"prefill": graph}
    return program, graph, lower_program(program, graph, capabilities.ORT)


def _names(graph: Graph) -> list[str]:
    return [op.name for op in graph]


def _of(graph: Graph, name: str) -> list[Op]:
    return [op for op in graph if op.name == name]


def test_a_llama_layer_is_nine_ops() -> None:
    _, graph, _ = _lowered(replace(LLAMA, layers=1))
    layer = [op.name for op in graph if op.location == "layers.0"]
    counts = ["sub", "cast", "amax", "cast", "cast", "constant"]
    assert sorted(layer) == sorted(
        [
            "rms_norm", "matmul", "ort.group_query_attention", "matmul", "ort.skip_rms_norm", "matmul", "split", "glu",
            "matmul", "add", *counts,
        ]
    )  # fmt: skip


def test_the_residual_sums_come_out_of_the_fused_norms() -> None:
    _, graph, outcome = _lowered(LLAMA)
    # The last addition is taken apart from its norm by the choice of tokens.
    assert outcome.hits["ort.skip_rms_norm"] == 2 * LLAMA.layers - 1
    assert len(_of(graph, "rms_norm")) == 2


def test_packed_projections_go_into_the_attention_whole() -> None:
    _, graph, _ = _lowered(LLAMA)
    for attention in _of(graph, "ort.group_query_attention"):
        assert attention.operand("key") is None
        assert attention.required("query").defined_by(ops.matmul)
        assert attention.operand("cos") is not None
    assert not _of(graph, "split_heads")
    assert not _of(graph, "merge_heads")


def test_the_counts_are_computed_once() -> None:
    _, graph, _ = _lowered(LLAMA)
    operands = {tuple(op.operands[3:6]) for op in _of(graph, "ort.group_query_attention")}
    assert len(operands) == 1


def test_normed_heads_are_not_transposed() -> None:
    _, graph, _ = _lowered(MODELS["qwen3"])
    assert "transpose" not in _names(graph)
    assert "split_heads" not in _names(graph)
    assert "merge_heads" not in _names(graph)
    assert len(_of(graph, "ort.group_query_attention")) == 2


def test_a_shared_embedding_is_stored_once() -> None:
    program, graph, _ = _lowered(MODELS["tied"])
    assert "embed.weight.transposed" not in program.weights
    (head,) = _of(graph, "ort.fused_matmul")
    assert head.required("y").weight is not None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("stories", "head size 8 is not a multiple of 16, so rotary embedding cannot be inside the attention"),
        ("gpt-neox", "4 rotary pairs are not a multiple of 8, so rotary embedding cannot be inside the attention"),
        ("odd-heads", "head size 12 is not a multiple of 8"),
        ("alibi", "it has a bias on the scores"),
        ("chunked", "the mask is chunked"),
        ("prefix", "the mask is prefix"),
    ],
)
def test_near_misses_say_why_and_where(name: str, reason: str) -> None:
    _, _, outcome = _lowered(MODELS[name])
    misses = [m for m in outcome.near_misses if reason in m.reason]
    assert {m.location for m in misses} == {"layers.0", "layers.1"}


def _replaced(name: str, make: Callable[[Builder, Op], Value], operand: str) -> Callable[[Graph], None]:
    def change(graph: Graph) -> None:
        for op in _of(graph, name):
            graph.set_operand(op, op.definition.operand_index(operand), make(Builder(graph, op, op.location), op))

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            _replaced("attention", lambda b, op: b(ops.add, op.required("positions"), 1), "positions"),
            "its query positions do not count on from the past length",
        ),
        (
            _replaced("attention", lambda b, op: b(ops.minimum, op.required("key_length"), 5), "key_length"),
            "its key length is not past length + new length",
        ),
        (
            _replaced("attention", lambda b, op: b(ops.mul, op.required("key_length"), 1), "key_length"),
            "its key length is not past length + new length",
        ),
    ],
)
def test_what_the_operator_would_do_differently_is_not_fused(change: Callable[[Graph], None], reason: str) -> None:
    _, graph, outcome = _lowered(LLAMA, change)
    assert not _of(graph, "ort.group_query_attention")
    assert any(reason in m.reason for m in outcome.near_misses)


def test_other_positions_of_the_rotation_keep_it_outside() -> None:
    change = _replaced("rope", lambda b, op: b(ops.add, op.required("positions"), 1), "positions")
    _, graph, outcome = _lowered(LLAMA, change)
    assert len(_of(graph, "ort.group_query_attention")) == 2
    assert len(_of(graph, "onnx.rotary_embedding")) == 4
    assert any("other positions" in m.reason for m in outcome.near_misses)


def test_a_cache_read_twice_is_not_fused() -> None:
    def change(graph: Graph) -> None:
        first = _of(graph, "attention")[0]
        twin = Builder(graph, first, "twin")(ops.attention, *first.operands, **first.attributes)
        merged = first.result.users[0]
        graph.set_operand(merged, 0, Builder(graph, merged, "twin")(ops.add, first.result, twin))

    _, graph, outcome = _lowered(LLAMA, change)
    assert len(_of(graph, "ort.group_query_attention")) == 1
    assert any(m.reason == "the cache is read by another op too" for m in outcome.near_misses)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("target", [capabilities.ORT, capabilities.PORTABLE], ids=lambda t: t.name)
def test_a_lowered_graph_computes_the_same_in_the_interpreter(name: str, target: capabilities.Target) -> None:
    program = decoder(MODELS[name])
    reference = program.clone().graphs["prefill"]
    graph = program.graphs["prefill"]
    lower_program(program, graph, target)
    generator = torch.Generator().manual_seed(1)
    bindings = {"B": 2, "S": 4, "N": 4, "C": 14}
    inputs = {
        "input_ids": torch.randint(0, 48, (2, 4), generator=generator),
        "past_length": torch.tensor([7, 2]),
        "new_length": torch.tensor([4, 4]),
        "logit_positions": torch.arange(4).repeat(2, 1),
    }
    for value in graph.inputs:
        if value.name is not None and value.name.startswith("past."):
            shape = [d.evaluate(bindings) for d in value.type.shape]
            inputs[value.name] = torch.randn(shape, generator=generator)
    interpreter = Interpreter("float64")
    expected, got = interpreter.run(reference, inputs), interpreter.run(graph, inputs)
    # Tables of angles are float32 on one side, and the angles float64 on the other.
    assert (got["logits"] - expected["logits"]).abs().max() < 2e-5 * expected["logits"].abs().max()


def test_padding_may_not_poison_a_cache() -> None:
    _, graph, outcome = _lowered(MODELS["mixed-heads"])
    assert outcome.hits["keep-padding-finite"] == 2
    for append in _of(graph, "kv_append"):
        owner = append.required("new").owner
        assert owner is not None
        assert owner.definition is ops.where


def test_narrow_floats_are_computed_in_float32() -> None:
    program = Program("test")
    graph = program.add_graph(Graph("forward"))
    from graphwright.ir import tensor

    x = graph.add_input("x", tensor("bf16", "B", 4))
    y = Builder(graph)(ops.exp, x)
    graph.outputs = {"y": y}
    lower_program(program, graph, capabilities.PORTABLE)
    assert _names(graph) == ["cast", "exp", "cast"]
    assert graph.outputs["y"].tensor.dtype is DType.BF16
