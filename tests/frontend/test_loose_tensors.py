"""Names that wrappers led, tensors that a model lacks, weights that no file has."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import transformers

from graphwright.frontend import CheckpointError, capture
from graphwright.frontend.loose_tensors import without_wrappers
from graphwright.frontend.weight_files import stored_weights
from graphwright.ir import Notice, WeightError
from tests.frontend.compare import assert_same_function
from tests.frontend.test_checkpoint import edit_config, edit_weights, loaded, saved
from tests.pretrained import save_pretrained
from tests.tensors import load_file, manual_seed, save_file

Tensors = dict[str, torch.Tensor]


def notices(folder: Path) -> list[str]:
    """What a capture says of the folder, whose model must be the one that transformers loads."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", Notice)
        program = capture(folder)
    assert_same_function(program, loaded(folder), ((2, 7),))
    return [str(w.message) for w in caught if w.category is Notice]


def _refused(folder: Path, message: str) -> None:
    with pytest.raises(WeightError, match=message) as failure:
        capture(folder)
    assert "\n" not in str(failure.value)


# -- tensors that the model lacks


def test_tensors_without_a_place_are_left_out_with_a_notice(tmp_path: Path) -> None:
    saved(tmp_path)
    edit_weights(tmp_path, lambda t: t.update({"score.weight": torch.ones(2)}))
    place = tmp_path / "model.safetensors"
    assert notices(tmp_path) == [f"{place}: left out a tensor that has no place in LlamaForCausalLM: score.weight"]
    more = {
        "model.layers.0.self_attn.bias": torch.ones(1, 1, 4, 4),
        "model.layers.9.mlp.up_proj.weight": torch.ones(2, 2),
        "v_head.summary.bias": torch.ones(1),
    }
    edit_weights(tmp_path, lambda t: t.update(more))
    with pytest.warns(Notice) as warned:
        capture(tmp_path)
    (told,) = (str(w.message) for w in warned if w.category is Notice)
    assert told.startswith(f"{place}: left out 4 tensors that have no place in LlamaForCausalLM: model.layers.0.self_a")
    assert told.endswith(", …")


@pytest.mark.parametrize(
    "key",
    [
        "model.layers.0.mlp.up_proj.lora_A.default.weight",
        "model.layers.0.mlp.up_proj.lora_B.weight",
        "model.layers.0.mlp.up_proj.base_layer.weight",
        "model.layers.0.mlp.up_proj.qweight",
        "model.layers.0.mlp.up_proj.weight_scale_inv",
        "model.layers.0.mlp.up_proj.weight.absmax",
        "model.layers.0.self_attn.k_scale",
    ],
)
def test_parts_of_adapters_and_quantized_layers_are_refused(tmp_path: Path, key: str) -> None:
    saved(tmp_path)
    edit_weights(tmp_path, lambda t: t.update({key: torch.ones(2)}))
    _refused(tmp_path, rf"tensor '{key}' has no place in LlamaForCausalLM: it is part of a quantized layer or an")


def test_a_bias_that_the_model_does_not_add_is_refused(tmp_path: Path) -> None:
    """As where config.json lacks attention_bias; transformers would load the model without it."""
    saved(tmp_path)
    key = "model.layers.0.self_attn.q_proj.bias"
    edit_weights(tmp_path, lambda t: t.update({key: torch.zeros(64)}))
    with pytest.warns(Notice, match=f"left out a tensor that .*: {key}$"):
        capture(tmp_path)
    edit_weights(tmp_path, lambda t: t.update({key: torch.ones(64)}))
    _refused(tmp_path, rf"tensor '{key}' has no place in LlamaForCausalLM, whose '.*q_proj' adds no bias")


# -- names


def renamed(folder: Path, name: str) -> None:
    """The checkpoint with every name put into a pattern."""
    file = folder / "model.safetensors"
    content = {name.format(key): value.clone() for key, value in load_file(file).items()}
    save_file(content, file, metadata={"format": "pt"})


@pytest.mark.parametrize("wrapped", ["module.{}", "_orig_mod.{}", "module._orig_mod.{}", "_orig_mod.module.{}"])
def test_wrappers_of_training_are_taken_off(tmp_path: Path, wrapped: str) -> None:
    saved(tmp_path)
    names = set(load_file(tmp_path / "model.safetensors"))
    renamed(tmp_path, wrapped)
    plain = without_wrappers(stored_weights(tmp_path, {}))
    assert set(plain) == names
    assert all(tensor.key == wrapped.format(name) for name, tensor in plain.items())


def test_wrappers_inside_of_names(tmp_path: Path) -> None:
    """As where only the layers were compiled, or wrapped to save memory."""
    saved(tmp_path)
    model = loaded(tmp_path)

    def wrap(tensors: Tensors) -> None:
        for key in [key for key in tensors if ".layers." in key]:
            tensors[key.replace(".mlp.", "._checkpoint_wrapped_module.mlp.", 1)] = tensors.pop(key)
        for key in [key for key in tensors if ".self_attn." in key]:
            tensors[key.replace(".self_attn.", "._orig_mod.self_attn.", 1)] = tensors.pop(key)

    edit_weights(tmp_path, wrap)
    assert_same_function(capture(tmp_path), model, ((2, 7),))


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    edit_weights(tmp_path, lambda t: t.update({"_orig_mod.model.norm.weight": torch.ones(64)}))
    with pytest.raises(CheckpointError, match=r"'model\.norm\.weight' are both 'model\.norm\.weight'"):
        capture(tmp_path)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_names_of_the_model_without_its_head(tmp_path: Path, name: str) -> None:
    """As the base model is saved; transformers puts its prefix in front. The head is tied."""
    saved(tmp_path, name, configuration={"tie_word_embeddings": True})
    model = loaded(tmp_path)
    model.base_model.save_pretrained(tmp_path)
    edit_config(tmp_path, architectures=[type(model).__name__])
    assert_same_function(capture(tmp_path), model, ((2, 7),))


# -- weights that no file has


def marian(folder: Path) -> transformers.MarianMTModel:
    configuration = transformers.MarianConfig(
        vocab_size=64,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=32,
        pad_token_id=63,
        eos_token_id=0,
        decoder_start_token_id=63,
        forced_eos_token_id=0,
    )
    manual_seed(0)
    model = transformers.MarianMTModel(configuration).eval()
    save_pretrained(model, folder)
    return model


TABLES = ["model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight", "final_logits_bias"]


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_tables_that_the_class_computes(tmp_path: Path, dtype: str) -> None:
    model = marian(tmp_path)
    edit_weights(tmp_path, lambda t: [t.pop(name, None) for name in TABLES])
    again = cast(Any, transformers.MarianMTModel).from_pretrained(
        tmp_path, dtype={"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
    )
    weights = capture(tmp_path, dtype=dtype).weights
    for name in TABLES[:2]:
        assert torch.equal(weights[name].evaluate(), again.get_parameter(name).detach())
    if dtype == "f32":
        assert torch.equal(weights[TABLES[0]].evaluate(), model.get_parameter(TABLES[0]).detach())


@pytest.mark.parametrize(
    "key", ["model.norm.weight", "model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight"]
)
def test_weights_that_are_only_initialized_are_missing(tmp_path: Path, key: str) -> None:
    """Ones and random numbers are no table, though the class makes them too."""
    saved(tmp_path)
    edit_weights(tmp_path, lambda t: t.pop(key))
    _refused(tmp_path, rf"weight '{key}' of LlamaForCausalLM is missing from the files")


def test_running_statistics_are_missing(tmp_path: Path) -> None:
    """A persistent buffer that training fills is not a table either."""
    configuration = transformers.MobileNetV2Config(image_size=32, depth_multiplier=0.25)
    configuration.num_labels = 3
    save_pretrained(transformers.MobileNetV2ForImageClassification(configuration), tmp_path)
    with_statistics = load_file(tmp_path / "model.safetensors")
    key = next(key for key in with_statistics if key.endswith("running_mean"))
    edit_weights(tmp_path, lambda t: t.pop(key))
    _refused(tmp_path, rf"weight '{key}' of MobileNetV2ForImageClassification is missing")
