import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file  # pyright: ignore[reportUnknownVariableType] - its path type is open
from tokenizers import Tokenizer

from benchmarks import checkpoint as module
from benchmarks.checkpoint import cache_folder, checkpoint, write_checkpoint
from benchmarks.shapes import ModelShape


def read(folder: Path) -> dict[str, NDArray[np.float32]]:
    return {name: array for file in sorted(folder.glob("*.safetensors")) for name, array in load_file(file).items()}


def test_weights_have_the_shape_and_scale_that_is_stated(tiny_shape: ModelShape, tmp_path: Path) -> None:
    weights = read(checkpoint(tiny_shape, tmp_path))
    assert {name: array.shape for name, array in weights.items()} == {t.name: t.shape for t in tiny_shape.tensors()}
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float32)}
    embedding = weights["model.embed_tokens.weight"]
    # 19,200 samples: the standard error of a standard deviation is sigma / sqrt(2 n).
    assert abs(embedding.std() - 0.02) < 5 * 0.02 / np.sqrt(2 * embedding.size)
    assert abs(weights["model.norm.weight"].mean() - 1) < 5 * 0.02 / np.sqrt(tiny_shape.hidden_size)


def test_the_same_shape_gives_the_same_weights(tiny_shape: ModelShape, tmp_path: Path) -> None:
    first, second = read(checkpoint(tiny_shape, tmp_path / "a")), read(checkpoint(tiny_shape, tmp_path / "b"))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not np.array_equal(first["model.layers.0.mlp.up_proj.weight"], first["model.layers.1.mlp.up_proj.weight"])


def test_shards_hold_the_same_weights_and_an_index(tiny_shape: ModelShape, tmp_path: Path) -> None:
    write_checkpoint(tiny_shape, tmp_path / "one")
    write_checkpoint(tiny_shape, tmp_path / "many", shard_bytes=100_000)
    one, many = read(tmp_path / "one"), read(tmp_path / "many")
    assert one.keys() == many.keys()
    assert all(np.array_equal(one[name], many[name]) for name in one)
    index = json.loads((tmp_path / "many/model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == tiny_shape.parameters * 4
    for name, file in index["weight_map"].items():
        assert name in load_file(tmp_path / "many" / file)
    assert not (tmp_path / "one/model.safetensors.index.json").exists()


def test_the_tokenizer_covers_the_vocabulary(tiny_shape: ModelShape, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(checkpoint(tiny_shape, tmp_path) / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == tiny_shape.vocabulary_size
    assert tokenizer.decode(tokenizer.encode("Grüße, 世界\n").ids) == "Grüße, 世界\n"


def test_a_checkpoint_is_written_once(tiny_shape: ModelShape, tmp_path: Path) -> None:
    folder = checkpoint(tiny_shape, tmp_path)
    (folder / "mark").touch()
    assert (checkpoint(tiny_shape, tmp_path) / "mark").exists()


def test_an_interrupted_write_leaves_nothing(
    tiny_shape: ModelShape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "save_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        checkpoint(tiny_shape, tmp_path)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_the_cache_can_be_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(module.CACHE_VARIABLE, "/elsewhere")
    assert cache_folder() == Path("/elsewhere")
    monkeypatch.delenv(module.CACHE_VARIABLE)
    assert cache_folder() == Path.home() / ".cache/graphwright/benchmarks"
