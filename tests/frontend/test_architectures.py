"""What a captured Hugging Face model is made of, in which types; the others are in `tests/models`."""

from __future__ import annotations

import pytest
import torch

from graphwright.frontend import capture
from graphwright.ir import DType
from tests.frontend.compare import assert_round_trip, assert_same_function, operators
from tests.frontend.zoo import captured, tiny


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_bfloat16(name: str) -> None:
    model = tiny(name).to(torch.bfloat16)
    program = capture(model)
    graph = program.graphs["forward"]
    assert graph.outputs["logits"].tensor.dtype is DType.BF16
    # The norms compute in float32: those casts are part of the model.
    assert {op.result.tensor.dtype for op in graph if op.name == "cast" and "norm" in op.location} == {
        DType.BF16,
        DType.F32,
    }
    assert_same_function(program, model)
    assert_round_trip(program)


def test_scalars_keep_their_precision_in_bfloat16() -> None:
    # 0.22 is not a bfloat16: torch multiplies by 0.22 all the same.
    model = tiny("granite").to(torch.bfloat16)
    assert_same_function(capture(model), model)


def test_dtype_converts_as_loading_in_that_dtype_does() -> None:
    model = tiny("llama")
    program = capture(model, dtype="bf16")
    assert program.graphs["forward"].outputs["logits"].tensor.dtype is DType.BF16
    assert str(program.weights["model.rotary_emb.inv_freq"].type) == "f32[8]"
    frequencies = model.model.rotary_emb.inv_freq.clone()
    converted = model.to(torch.bfloat16)
    converted.model.rotary_emb.inv_freq = frequencies
    assert_same_function(program, converted)


def test_the_model_is_left_alone() -> None:
    model = tiny("llama").train()
    implementation = model.config._attn_implementation
    cache = model.config.use_cache
    before = {n: (id(p), p.requires_grad) for n, p in model.named_parameters()}
    capture(model, dtype="bf16")
    assert model.training
    assert model.config._attn_implementation == implementation
    assert model.config.use_cache == cache
    assert {n: (id(p), p.requires_grad) for n, p in model.named_parameters()} == before


def test_the_captured_form() -> None:
    program = captured("llama")
    graph = program.graphs["forward"]
    assert [(v.name, str(v.type)) for v in graph.inputs] == [("input_ids", "i64[B, S]")]
    assert {n: str(v.type) for n, v in graph.outputs.items()} == {"logits": "f32[B, S, 256]"}
    (attention,) = [op for op in graph if op.name == "attention"]
    assert attention.location == "model.layers.0.self_attn"
    assert attention.attributes["mask"] == "full"
    assert str(attention.required("bias").type) == "bool[B, 1, S, S]"
    assert "model.layers.0.mlp.down_proj.weight" in program.weights


def test_tied_embeddings_are_one_weight() -> None:
    program = captured("gpt2")
    assert "transformer.wte.weight" in program.weights
    assert "lm_head.weight" not in program.weights
    assert operators(program).count("embedding") == 2


def test_conv1d_weights_are_transposed_lazily() -> None:
    program = captured("gpt2")
    weight = program.weights["transformer.h.0.attn.c_attn.weight.transposed"]
    assert str(weight.type) == "f32[192, 64]"
    assert "matmul" not in operators(program)
