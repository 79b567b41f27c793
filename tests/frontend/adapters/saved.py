"""Tiny bases and adapters in PEFT's form, written by hand: PEFT itself is not needed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
import transformers

from graphwright.frontend.adapters import read_adapter
from graphwright.frontend.checkpoint import adapted, bind
from graphwright.frontend.empty_model import empty_model
from graphwright.frontend.weight_files import stored_weights
from tests.frontend.zoo import tiny
from tests.tensors import load_file, save_file

Tensors = dict[str, torch.Tensor]
PREFIX = "base_model.model."
RANK = 4
HIDDEN = 64
ATTENTION = "model.layers.{}.self_attn.{}_proj"
QUERIES = [ATTENTION.format(layer, "q") for layer in range(2)]


def base(folder: Path, name: str = "llama", dtype: torch.dtype = torch.float32, **configuration: Any) -> Path:
    """A checkpoint of two layers."""
    tiny(name, **{"num_hidden_layers": 2, **configuration}).to(dtype).save_pretrained(folder)
    return folder


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape))) * 0.1


def pair(path: str, inputs: int = HIDDEN, outputs: int = HIDDEN, rank: int = RANK, seed: int = 0) -> Tensors:
    """lora_A and lora_B of a layer."""
    return {
        f"{path}.lora_A.weight": random(rank, inputs, seed=seed),
        f"{path}.lora_B.weight": random(outputs, rank, seed=seed + 1),
    }


def queries() -> Tensors:
    return {key: value for seed, path in enumerate(QUERIES) for key, value in pair(path, seed=seed).items()}


def adapter(folder: Path, tensors: Mapping[str, torch.Tensor], *, pickled: bool = False, **settings: Any) -> Path:
    """An adapter's folder; of the settings rank 4, alpha 8 and the queries as targets are the defaults."""
    folder.mkdir(exist_ok=True)
    content = {"peft_type": "LORA", "r": RANK, "lora_alpha": 8, "target_modules": ["q_proj"], **settings}
    (folder / "adapter_config.json").write_text(json.dumps(content))
    prefixed = {PREFIX + key: value.contiguous() for key, value in tensors.items()}
    if pickled:
        torch.save(prefixed, folder / "adapter_model.bin")
    else:
        save_file(prefixed, str(folder / "adapter_model.safetensors"))
    return folder


def stored(folder: Path) -> Tensors:
    return load_file(str(folder / "model.safetensors"))


def merged(base: Path, folder: Path, dtype: torch.dtype | None = None) -> Tensors:
    """Every weight of the base with the adapter in that folder, by its name."""
    config = cast(Any, transformers.AutoConfig).from_pretrained(base)
    build: Any = getattr(transformers, config.architectures[0])
    model = empty_model(build, config, base, dtype or config.dtype)
    model, weights = adapted(read_adapter(folder), model, stored_weights(base, {}), base)
    bind(model, weights, base)
    return {name: weight.evaluate() for name, weight in weights.items()}


def change(tensors: Tensors, path: str, scaling: float) -> torch.Tensor:
    """s B A in float32."""
    a, b = (tensors[f"{path}.lora_{part}.weight"].float() for part in "AB")
    return (b @ a) * scaling
