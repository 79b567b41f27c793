"""Rotations of the residual stream: where they go, what stops them, and that they change nothing."""

from __future__ import annotations

import pytest
import torch

from graphwright.ir import Program, parse_program, print_graph
from graphwright.passes import parse_passes, run_passes
from graphwright.passes.proving import InterpreterProver
from graphwright.passes.quantization.weight_folds import rotation
from tests.models.test_architectures import case
from tests.passes.graphs import assert_same_values, random_weight
from tests.passes.quantization.weight_folds.block import block


def test_every_weight_on_the_stream_is_rotated() -> None:
    before, after = block(dtype="f64"), block(dtype="f64")
    (record,) = run_passes(after, parse_passes("rotate-residual")).records
    assert record.hits == {"rotate-residual": 1}
    assert_same_values(before.graphs["forward"], after.graphs["forward"])
    r = rotation(8, 0, keep_mean=False)
    assert r is not None
    old = {name: weight.evaluate() for name, weight in before.weights.items()}
    wanted = {
        "table": old["table"] @ r,
        "table.folded": old["table"] * old["norm3"] @ r,
        "qkv": old["qkv"] * old["norm1"] @ r,
        "o": r.T @ old["o"],
        "gate_up": old["gate_up"] * old["norm2"] @ r,
        "down": r.T @ old["down"],
        "qkv_bias": old["qkv_bias"],
        **{f"norm{i}": torch.ones(8, dtype=torch.float64) for i in (1, 2, 3)},
    }
    assert after.weights.keys() == wanted.keys()
    for name, weight in wanted.items():
        torch.testing.assert_close(after.weights[name].evaluate(), weight, rtol=0, atol=1e-12)
    text = print_graph(after.graphs["forward"])
    assert text.replace("@table.folded", "@table") == print_graph(before.graphs["forward"])


LAYER_NORM = """
graph forward(%input_ids: i64[B, S]) {
  %0 = embedding(@table, %input_ids) : f32[B, S, 4]
  %1 = layer_norm(%0, weight=@norm, bias=@shift) {epsilon=1e-05} : f32[B, S, 4]  at norm
  %2 = linear(%1, @up) : f32[B, S, 8]  at up
  %3 = activation(%2) {kind="gelu"} : f32[B, S, 8]
  %4 = linear(%3, @down, bias=@constant) : f32[B, S, 4]  at down
  %5 = add(%0, %4) : f32[B, S, 4]
  %6 = layer_norm(%5) {epsilon=1e-05} : f32[B, S, 4]
  %7 = linear(%6, @table) : f32[B, S, 9]
  return logits=%7
}
"""


def layer_norms() -> Program:
    shapes = {"table": (9, 4), "norm": (4,), "shift": (4,), "up": (8, 4), "down": (4, 8), "constant": (4,)}
    weights = "".join(random_weight(name, *shape) for name, shape in shapes.items())
    return parse_program(f'program "p"\n{weights}{LAYER_NORM}'.replace("f32", "f64"))


def test_layer_norms_keep_the_mean_and_give_up_their_bias() -> None:
    before, after = layer_norms(), layer_norms()
    run_passes(after, parse_passes("rotate-residual{seed=1}"))
    assert_same_values(before.graphs["forward"], after.graphs["forward"])
    text = print_graph(after.graphs["forward"])
    assert "layer_norm(%0, weight=@norm) {epsilon=1e-05}" in text
    assert "linear(%1, @up, bias=@up.bias)" in text
    # Nothing went into the head, so it goes on sharing the table.
    assert "linear(%6, @table)" in text


@pytest.mark.parametrize(
    ("join", "reason"),
    [
        ("add(%14, %15)", "add at block reads the residual stream through rms_norm at norm2"),
        ("mul(%14, %20)", "mul at block reads the residual stream"),
        ("sigmoid(%14)", "sigmoid at block reads the residual stream"),
    ],
)
def test_what_does_not_commute_stops_it(join: str, reason: str) -> None:
    program = block(join=join)
    text = print_graph(program.graphs["forward"])
    (record,) = run_passes(program, parse_passes("rotate-residual")).records
    assert [str(miss) for miss in record.near_misses] == [f"rotate-residual at embed: {reason}"]
    assert not record.changed
    assert print_graph(program.graphs["forward"]) == text


def test_a_size_without_a_hadamard_matrix_is_named() -> None:
    weights = random_weight("table", 9, 6)
    text = (
        "graph forward(%i: i64[B]) {\n  %0 = embedding(@table, %i) : f32[B, 6]\n  %1 = linear(%0, @table) : f32[B, 9]\n"
    )
    program = parse_program(f'program "p"\n{weights}{text}  return y=%1\n}}')
    (record,) = run_passes(program, parse_passes("rotate-residual")).records
    assert [str(miss) for miss in record.near_misses] == [
        "rotate-residual: the residual stream has 6 channels, and no Hadamard matrix of that size is known"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral", "gptj"])
def test_whole_models_are_rotated_without_loss(name: str) -> None:
    (record,) = run_passes(
        case(name).program.clone(), parse_passes("rotate-residual"), prover=InterpreterProver()
    ).records
    assert record.hits == {"rotate-residual": 2}
    assert record.proof is not None
    assert record.proof.status == "proven"


@pytest.mark.slow
def test_norms_behind_a_layer_stop_it() -> None:
    program = case("gemma2").program.clone()
    (record,) = run_passes(program, parse_passes("rotate-residual")).records
    assert not record.changed
    assert [str(miss) for miss in record.near_misses] == [
        "rotate-residual at model.embed_tokens: rms_norm at model.layers.1.post_feedforward_layernorm writes into the "
        "residual stream"
    ]
