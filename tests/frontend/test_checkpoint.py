"""Checkpoint directories: what is read, what is refused, and in which words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from graphwright.frontend import CheckpointError, capture
from graphwright.ir import DType, StoredFile, UnsupportedError, UserError, WeightError, run
from graphwright.ir.weights import sources
from tests.frontend.compare import assert_round_trip, assert_same_function, logits, tokens
from tests.frontend.zoo import tiny
from tests.pretrained import language_model, save_pretrained
from tests.tensors import load_file, save_file


def saved(folder: Path, name: str = "llama", dtype: torch.dtype = torch.float32, **options: Any) -> Path:
    """A tiny model's checkpoint directory."""
    tiny(name, **options.pop("configuration", {})).to(dtype).save_pretrained(folder, **options)
    return folder


def edit_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    settings = json.loads(file.read_text())
    settings.update(changes)
    file.write_text(json.dumps({k: v for k, v in settings.items() if v is not None}))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    file = str(folder / "model.safetensors")
    tensors = {k: v.clone() for k, v in load_file(file).items()}
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def loaded(folder: Path) -> Any:
    return language_model(folder, dtype="auto")


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_checkpoint(tmp_path: Path, name: str) -> None:
    program = capture(saved(tmp_path, name))
    assert_same_function(program, loaded(tmp_path))
    assert_round_trip(program)
    stored = [s for w in program.weights.values() for s in sources(w.expression) if isinstance(s, StoredFile)]
    assert {Path(s.path) for s in stored} == {tmp_path / "model.safetensors"}
    assert {s.key for s in stored} == set(load_file(tmp_path / "model.safetensors"))


def test_the_path_may_be_text_and_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    program = capture("model")
    monkeypatch.chdir("/")
    assert program.weights["lm_head.weight"].evaluate().shape == (256, 64)


def test_shards(tmp_path: Path) -> None:
    saved(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert_same_function(capture(tmp_path), loaded(tmp_path))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_checkpoints_are_traced_as_they_are(tmp_path: Path, dtype: torch.dtype) -> None:
    program = capture(saved(tmp_path, dtype=dtype))
    kinds = {str(w.type).split("[")[0] for w in program.weights.values()}
    assert kinds == {"f32", {torch.bfloat16: "bf16", torch.float16: "f16"}[dtype]}
    assert [n for n, w in program.weights.items() if str(w.type).startswith("f32")] == ["model.rotary_emb.inv_freq"]
    assert_same_function(program, loaded(tmp_path))


def test_dtype_casts_weights_lazily(tmp_path: Path) -> None:
    program = capture(saved(tmp_path, dtype=torch.bfloat16), dtype="f32")
    weight = program.weights["lm_head.weight"]
    assert str(weight.type) == "f32[256, 64]"
    (source,) = sources(weight.expression)
    assert str(source.type) == "bf16[256, 64]"
    assert_same_function(program, loaded(tmp_path).float())


def test_the_configuration_decides_the_dtype_if_the_files_differ(tmp_path: Path) -> None:
    saved(tmp_path)
    edit_config(tmp_path, dtype="bfloat16")
    program = capture(tmp_path)
    assert program.graphs["forward"].outputs["logits"].tensor.dtype is DType.BF16
    assert_same_function(program, loaded(tmp_path))


def test_without_a_dtype_in_the_configuration_the_files_decide(tmp_path: Path) -> None:
    saved(tmp_path, dtype=torch.bfloat16)
    edit_config(tmp_path, dtype=None)
    assert capture(tmp_path).graphs["forward"].outputs["logits"].tensor.dtype is DType.BF16


def test_computed_buffers_have_their_values(tmp_path: Path) -> None:
    saved(tmp_path)
    program = capture(tmp_path)
    wanted = loaded(tmp_path).model.rotary_emb.inv_freq
    assert torch.equal(program.weights["model.rotary_emb.inv_freq"].evaluate(), wanted)


# -- names


def test_tied_weights_are_one(tmp_path: Path) -> None:
    program = capture(saved(tmp_path, configuration={"tie_word_embeddings": True}))
    assert "lm_head.weight" not in program.weights
    assert_same_function(program, loaded(tmp_path))


def test_a_tied_weight_may_be_stored_under_its_other_name(tmp_path: Path) -> None:
    saved(tmp_path, configuration={"tie_word_embeddings": True})
    edit_weights(tmp_path, lambda t: t.update({"lm_head.weight": t.pop("model.embed_tokens.weight")}))
    program = capture(tmp_path)
    expression = program.weights["model.embed_tokens.weight"].expression
    assert isinstance(expression, StoredFile)
    assert expression.key == "lm_head.weight"
    assert_same_function(program, loaded(tmp_path))


@pytest.mark.parametrize("equal", [True, False])
def test_a_tied_weight_that_is_stored_twice(tmp_path: Path, equal: bool) -> None:
    saved(tmp_path, configuration={"tie_word_embeddings": True})
    factor = 1.0 if equal else 2.0
    edit_weights(tmp_path, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"] * factor}))
    program = capture(tmp_path)
    assert ("lm_head.weight" in program.weights) is not equal
    assert_same_function(program, loaded(tmp_path))


def test_names_without_the_prefix_of_the_base_model(tmp_path: Path) -> None:
    # The first GPT-2 checkpoints were saved so, with their masks.
    saved(tmp_path, "gpt2")

    def strip(tensors: dict[str, torch.Tensor]) -> None:
        for name in list(tensors):
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)
        tensors["h.0.attn.bias"] = torch.ones(1, 1, 4, 4)

    edit_weights(tmp_path, strip)
    assert_same_function(capture(tmp_path), loaded(tmp_path))


# -- facts


def test_generation_settings_come_first(tmp_path: Path) -> None:
    saved(tmp_path)
    settings = {"bos_token_id": 5, "eos_token_id": [6, 7], "pad_token_id": 8}
    (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    facts = capture(tmp_path).metadata
    assert facts["bos_token_ids"] == (5,)
    assert facts["eos_token_ids"] == (6, 7)
    assert facts["pad_token_id"] == 8


def test_the_configuration_fills_in(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    facts = capture(tmp_path).metadata
    assert facts["eos_token_ids"] == (2,)
    assert facts["pad_token_id"] == 0
    assert facts["architecture"] == "LlamaForCausalLM"
    assert facts["vocabulary_size"] == 256


def test_stories260k(stories260k: Path) -> None:
    program = capture(stories260k)
    model = loaded(stories260k)
    assert_same_function(program, model, vocabulary=512)
    assert program.metadata["parameters"] == sum(p.numel() for p in model.parameters())
    ids = tokens(1, 64, 512)
    got = run(program.graphs["forward"], {"input_ids": ids})["logits"]
    assert torch.equal(got.argmax(-1), logits(model, ids).argmax(-1))


# -- code in checkpoints


def test_code_of_an_unknown_model_type_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    edit_config(tmp_path, model_type="evil", auto_map={"AutoConfig": "evil.Config"})
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    _refused(tmp_path, UnsupportedError, r"config\.json: model type 'evil' is not known.*code.*never run; load it in")
    assert not (tmp_path / "ran").exists()


# -- what is wrong with a directory


def _refused(folder: Path, kind: type[UserError], message: str) -> None:
    with pytest.raises(kind, match=message) as failure:
        capture(folder)
    assert "\n" not in str(failure.value)


def test_no_directory(tmp_path: Path) -> None:
    _refused(tmp_path / "nowhere", CheckpointError, "nowhere: not a directory")


def test_no_configuration(tmp_path: Path) -> None:
    _refused(tmp_path, CheckpointError, r"config\.json: the file is missing")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable as JSON"),
        ("[]", "expected a JSON object"),
        ("{}", "'model_type' is missing"),
        ('{"model_type": 3}', "'model_type' is missing"),
        ('{"model_type": "no_such"}', "model type 'no_such' is not known to transformers"),
        ('{"model_type": "vit"}', "no causal language model of type 'vit'"),
        ('{"model_type": "llama", "hidden_size": "big"}', "not a configuration of 'llama'"),
        ('{"model_type": "llama", "quantization_config": {"quant_method": "hqq"}}', "is quantized by the method 'hqq'"),
    ],
)
def test_bad_configuration(tmp_path: Path, content: str, message: str) -> None:
    saved(tmp_path)
    (tmp_path / "config.json").write_text(content)
    _refused(tmp_path, UserError, message)


def test_configuration_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"\xff\xfe\x00")
    _refused(tmp_path, CheckpointError, r"config\.json: not readable as JSON")


def test_configuration_that_no_model_can_have(tmp_path: Path) -> None:
    saved(tmp_path)
    edit_config(tmp_path, hidden_act="no_such_function")
    _refused(tmp_path, CheckpointError, r"config\.json: LlamaForCausalLM cannot be built: .*no_such_function")


def test_bad_generation_settings(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": "</s>"}')
    _refused(tmp_path, CheckpointError, "'eos_token_id' is '</s>': expected a token id")
    (tmp_path / "generation_config.json").write_text("{")
    _refused(tmp_path, CheckpointError, r"generation_config\.json: not readable as JSON")


@pytest.mark.parametrize("kept", [0, 4, 1000, -1])
def test_file_cut_short(tmp_path: Path, kept: int) -> None:
    file = saved(tmp_path) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    _refused(tmp_path, WeightError, r"model\.safetensors: .*(cut short|damaged)")


def test_missing_weight(tmp_path: Path) -> None:
    saved(tmp_path)
    edit_weights(tmp_path, lambda t: t.pop("model.layers.0.mlp.up_proj.weight"))
    _refused(tmp_path, WeightError, r"weight 'model\.layers\.0\.mlp\.up_proj\.weight' of LlamaForCausalLM is missing")


def test_old_buffers_are_ignored(tmp_path: Path) -> None:
    saved(tmp_path)
    edit_weights(tmp_path, lambda t: t.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}))
    assert_same_function(capture(tmp_path), loaded(tmp_path))


def test_weight_of_another_shape(tmp_path: Path) -> None:
    saved(tmp_path)
    edit_weights(tmp_path, lambda t: t.update({"model.norm.weight": torch.ones(32)}))
    _refused(tmp_path, WeightError, r"tensor 'model\.norm\.weight' is f32\[32\], config\.json asks for \[64\]")


def test_examples_give_another_call(tmp_path: Path) -> None:
    """With a mask the model is a plain function of ids and mask."""
    model = loaded(saved(tmp_path))
    ids, mask = tokens(2, 5), torch.ones(2, 5, dtype=torch.int64)
    graph = capture(tmp_path, {"input_ids": ids, "attention_mask": mask}).graphs["forward"]
    assert [str(v.type) for v in graph.inputs] == ["i64[B, S]", "i64[B, S]"]
    ids, mask = tokens(3, 9), torch.ones(3, 9, dtype=torch.int64)
    mask[0, 6:] = 0
    found = run(graph, {"input_ids": ids, "attention_mask": mask})["logits"]
    with torch.no_grad():
        wanted = model(ids, mask).logits
    torch.testing.assert_close(found[mask.bool()], wanted[mask.bool()], rtol=1e-5, atol=1e-5)


def test_transformers_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[hf\]'"):
        capture(tmp_path)


def test_a_setting_that_json_cannot_hold(tmp_path: Path) -> None:
    """transformers writes an infinite limit on time steps as an object."""
    config = transformers.Mamba2Config(
        vocab_size=256, hidden_size=16, state_size=4, num_hidden_layers=1, num_heads=4, head_dim=8, n_groups=1
    )
    save_pretrained(transformers.Mamba2ForCausalLM(config), tmp_path)
    assert "__float__" in (tmp_path / "config.json").read_text()
    assert any(op.name == "linear_recurrence" for op in capture(tmp_path).graphs["forward"])
    edit_config(tmp_path, time_step_limit=[0.0, {"__float__": "much"}])
    _refused(tmp_path, CheckpointError, "config.json: not a configuration of 'mamba2'")
