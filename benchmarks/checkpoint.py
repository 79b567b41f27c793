"""Writes a Hugging Face checkpoint of a measured shape: seeded random weights, and a tokenizer of the right size."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]  # its path type is open
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from benchmarks.shapes import ModelShape, TensorShape

CACHE_VARIABLE = "GRAPHWRIGHT_BENCHMARK_CACHE"
SEED = 0
BYTES_PER_SCALAR = 4
# Hugging Face's own default order of magnitude; bounds the memory of the writer.
SHARD_BYTES = 4 << 30
# The initializer range of both published families: activations and logits stay finite and far from denormals.
STANDARD_DEVIATION = 0.02


def cache_folder() -> Path:
    """Where checkpoints and built models are kept between runs: an environment variable, or the user's cache."""
    override = os.environ.get(CACHE_VARIABLE)
    return Path(override).expanduser() if override else Path.home() / ".cache" / "graphwright" / "benchmarks"


def checkpoint(shape: ModelShape, cache: Path) -> Path:
    """The folder of `shape`'s float32 checkpoint inside `cache`, written on the first call."""
    folder = cache / "checkpoints" / f"{shape.name}-seed{SEED}-float32"
    if folder.is_dir():
        return folder
    unfinished = folder.with_name(f"{folder.name}.unfinished-{os.getpid()}")
    try:
        write_checkpoint(shape, unfinished)
        # The rename is what makes a checkpoint exist: an interrupted run leaves nothing that looks complete.
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def write_checkpoint(shape: ModelShape, folder: Path, *, shard_bytes: int = SHARD_BYTES) -> None:
    """Write config, tokenizer and float32 safetensors (one file, or shards of at most `shard_bytes`) into `folder`."""
    folder.mkdir(parents=True)
    _write_json(folder / "config.json", configuration(shape))
    _write_json(
        folder / "generation_config.json", {"bos_token_id": shape.bos_token_id, "eos_token_id": shape.eos_token_id}
    )
    _write_tokenizer(shape, folder)
    shards = list(_shards(shape, shard_bytes))
    files: dict[str, str] = {}
    seed = 0
    for number, shard in enumerate(shards, start=1):
        single = len(shards) == 1
        file = "model.safetensors" if single else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        arrays: dict[str, NDArray[np.float32]] = {}
        for tensor in shard:
            arrays[tensor.name] = _random_tensor(tensor, seed)
            files[tensor.name] = file
            seed += 1
        save_file(arrays, folder / file, metadata={"format": "pt"})
    if len(shards) > 1:
        index = {"metadata": {"total_size": shape.parameters * BYTES_PER_SCALAR}, "weight_map": files}
        _write_json(folder / "model.safetensors.index.json", index)


def write_configuration(shape: ModelShape, folder: Path) -> None:
    """Write config.json alone: what a model is whose weights are filled from a seed."""
    folder.mkdir(parents=True)
    _write_json(folder / "config.json", configuration(shape))


def write_sparse_checkpoint(config: Mapping[str, object], tensors: Iterable[TensorShape], folder: Path) -> int:
    """Write config and bfloat16 safetensors of zeros that take no room on the disk; returns their size."""
    folder.mkdir(parents=True)
    _write_json(folder / "config.json", {**config, "torch_dtype": "bfloat16"})
    header: dict[str, object] = {}
    size = 0
    for tensor in tensors:
        end = size + 2 * tensor.elements
        header[tensor.name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [size, end]}
        size = end
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + size)
    return size


def _shards(shape: ModelShape, shard_bytes: int) -> Iterator[list[TensorShape]]:
    shard: list[TensorShape] = []
    used = 0
    for tensor in shape.tensors():
        size = tensor.elements * BYTES_PER_SCALAR
        if shard and used + size > shard_bytes:
            yield shard
            shard, used = [], 0
        shard.append(tensor)
        used += size
    yield shard


def _random_tensor(tensor: TensorShape, seed: int) -> NDArray[np.float32]:
    generator = np.random.Generator(np.random.SFC64([SEED, seed]))
    values = generator.standard_normal(tensor.shape, dtype=np.float32)
    values *= np.float32(STANDARD_DEVIATION)
    if "norm" in tensor.name:
        values += np.float32(1.0)
    return values


def configuration(shape: ModelShape) -> dict[str, object]:
    """The config.json of a shape, in float32."""
    config: dict[str, object] = {
        "architectures": [shape.architecture],
        "model_type": shape.model_type,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads,
        "head_dim": shape.head_size,
        "vocab_size": shape.vocabulary_size,
        "tie_word_embeddings": shape.tied_embeddings,
        "rope_theta": shape.rope_theta,
        "rms_norm_eps": shape.norm_epsilon,
        "max_position_embeddings": shape.context_length,
        "hidden_act": "silu",
        "initializer_range": STANDARD_DEVIATION,
        "bos_token_id": shape.bos_token_id,
        "eos_token_id": shape.eos_token_id,
        "torch_dtype": "float32",
        "use_cache": True,
    }
    if shape.model_type == "qwen2":
        config["use_sliding_window"] = False
    if shape.rope_scaling:
        config["rope_scaling"] = dict(shape.rope_scaling)
    return config | shape.settings


def _write_tokenizer(shape: ModelShape, folder: Path) -> None:
    # Bytes first, then fillers up to the vocabulary's size: any text encodes, and every id decodes.
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())[: shape.vocabulary_size]
    pieces += [f"<filler_{index}>" for index in range(len(pieces), shape.vocabulary_size)]
    model = models.BPE(vocab={piece: index for index, piece in enumerate(pieces)}, merges=[])
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"bos_token": pieces[shape.bos_token_id], "eos_token": pieces[shape.eos_token_id]}
    _write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **special})


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
