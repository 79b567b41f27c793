"""Train, save to the same folder, compile again: each artifact has the weights of its day."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import graphwright
from graphwright.ir import StoredFile, WeightError
from tests.frontend.quantized.checkpoints import write
from tests.frontend.quantized.test_gptq import settings, writer
from tests.graphwright.files.test_programs import array, program_of, values
from tests.pretrained import save_pretrained
from tests.tensors import manual_seed

IDS = [[3, 1, 4, 1, 5]]
CHANGED = r"model\.safetensors: the file has changed since the program was made; capture the model again"


def small() -> transformers.LlamaForCausalLM:
    configuration = transformers.LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        tie_word_embeddings=True,
    )
    manual_seed(0)
    return transformers.LlamaForCausalLM(configuration).eval()


def train(model: torch.nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.25)


def logits(model: Any) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        return model(torch.tensor(IDS)).logits.numpy()


def close(compiled: graphwright.CompiledModel, wanted: np.ndarray[Any, Any]) -> bool:
    """Within the rounding of float32 sums of 16 numbers; training moves the logits by a quarter of their size."""
    return bool(np.abs(compiled.logits(IDS) - wanted).max() < 1e-4 * np.abs(wanted).max())


def test_the_second_artifact_has_the_second_weights(tmp_path: Path) -> None:
    """Into the same output too, while the first one is in use."""
    model = small()
    save_pretrained(model, tmp_path / "model")
    (tmp_path / "latest").symlink_to("model")
    first = logits(model)
    one = graphwright.compile(tmp_path / "latest", output=tmp_path / "out")
    train(model)
    save_pretrained(model, tmp_path / "model")
    second = logits(model)
    two = graphwright.compile(tmp_path / "latest", output=tmp_path / "out")
    assert close(one, first)
    assert close(two, second)
    assert not close(two, first)


def test_a_program_in_memory_does_not_take_the_weights_of_another_day(tmp_path: Path) -> None:
    model = small()
    save_pretrained(model, tmp_path / "model")
    program = graphwright.trace(tmp_path / "model")
    graphwright.write_program(program, tmp_path / "before.gw")
    train(model)
    save_pretrained(model, tmp_path / "model")
    with pytest.raises(WeightError, match=CHANGED):
        graphwright.compile(program, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(WeightError, match=CHANGED):
        graphwright.write_program(program, tmp_path / "after.gw")
    assert not (tmp_path / "after.gw").exists()


def test_other_shapes_under_the_old_name(tmp_path: Path) -> None:
    save_pretrained(small(), tmp_path)
    graphwright.trace(tmp_path)
    model = small()
    model.resize_token_embeddings(40)
    save_pretrained(model, tmp_path)
    weights = graphwright.trace(tmp_path).weights
    assert torch.equal(weights["model.embed_tokens.weight"].evaluate(), model.model.embed_tokens.weight)


def test_a_quantized_checkpoint(tmp_path: Path) -> None:
    def weights() -> dict[str, torch.Tensor]:
        return {name: weight.evaluate() for name, weight in graphwright.trace(tmp_path).weights.items()}

    def other(name: str, weight: torch.Tensor, generator: torch.Generator) -> Any:
        return writer(sym=False)(name, weight, generator.manual_seed(len(name)))

    for each in (writer(sym=False), other):
        model = write(tmp_path, settings(sym=False), each)
        key = "model.layers.0.mlp.up_proj.weight"
        assert torch.equal(weights()[key], model.get_parameter(key).detach())


def test_the_file_beside_a_program(tmp_path: Path) -> None:
    path = tmp_path / "a.gw"
    graphwright.write_program(program_of(array(100)), path)
    first = graphwright.read_program(path)
    graphwright.write_program(program_of(array(100, seed=1)), path)
    with pytest.raises(WeightError, match=r"a\.safetensors: the file has changed"):
        values(first)
    assert torch.equal(values(graphwright.read_program(path))[0], array(100, seed=1).array)


def test_a_program_goes_on_after_it_was_written_over_its_own_file(tmp_path: Path) -> None:
    path = tmp_path / "a.gw"
    graphwright.write_program(program_of(array(100)), path)
    stored = graphwright.read_program(path).weights["w0"].expression
    assert isinstance(stored, StoredFile)
    program = program_of(stored, array(100, seed=1))
    graphwright.write_program(program, path)
    assert torch.equal(values(program)[0], array(100).array)
    graphwright.write_program(program, path)
    assert torch.equal(values(graphwright.read_program(path))[0], array(100).array)
