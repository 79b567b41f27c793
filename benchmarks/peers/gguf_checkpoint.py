"""Writes a Llama- or Qwen2-like Hugging Face checkpoint as GGUF in float32; runs in `.peers/llama-cpp`."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weight = NDArray[np.float32]

_WHOLE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(checkpoint: Path, file: Path) -> None:
    """Write `file` with sizes and weights of the checkpoint, and without a tokenizer: token ids go in and out."""
    gguf = importlib.import_module("gguf")
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(str(file), config["model_type"])
    _write_sizes(writer, config)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    if "rope_scaling" in config:
        writer.add_tensor("rope_freqs.weight", frequency_factors(config))
    for name, weight in _weights(checkpoint):
        writer.add_tensor(gguf_name(name), _in_llama_order(name, weight, config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_name(name: str) -> str:
    """The name that llama.cpp gives to a tensor of the checkpoint."""
    if name in _WHOLE:
        return _WHOLE[name]
    _, _, layer, rest = name.split(".", 3)
    module, _, kind = rest.rpartition(".")
    return f"blk.{layer}.{_LAYER[module]}.{kind}"


def interleaved_rows(weight: Weight, heads: int) -> Weight:
    """Rows of each head in the order 0, D/2, 1, D/2 + 1…: llama.cpp rotates neighbours for the architecture `llama`."""
    size = weight.shape[0] // heads
    halves = weight.reshape(heads, 2, size // 2, *weight.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))


def frequency_factors(config: dict[str, Any]) -> Weight:
    """What each rotary frequency is divided by under Llama 3's scaling, float32 [D/2].

    Long waves are slowed by `factor`, short ones kept, and those between blended, as Llama 3.1's code does.
    """
    scaling = config["rope_scaling"]
    if scaling["rope_type"] != "llama3":
        raise ValueError(f"rope_scaling of the type {scaling['rope_type']!r} has no counterpart here")
    size: int = config["head_dim"]
    exponents: NDArray[np.float64] = np.arange(0, size, 2) / size
    wavelengths = 2 * math.pi * np.power(float(config["rope_theta"]), exponents)
    trained = float(scaling["original_max_position_embeddings"])
    low, high = float(scaling["low_freq_factor"]), float(scaling["high_freq_factor"])
    smooth: NDArray[np.float64] = np.clip((trained / wavelengths - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / float(scaling["factor"]) + smooth)).astype(np.float32)


def _write_sizes(writer: Any, config: dict[str, Any]) -> None:
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")


def _weights(checkpoint: Path) -> Iterator[tuple[str, Weight]]:
    safetensors = importlib.import_module("safetensors")
    for path in sorted(checkpoint.glob("*.safetensors")):
        with safetensors.safe_open(str(path), framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118  # not a mapping: it cannot be iterated
                yield name, file.get_tensor(name)


def _in_llama_order(name: str, weight: Weight, config: dict[str, Any]) -> Weight:
    if config["model_type"] == "llama":
        if ".q_proj." in name:
            return interleaved_rows(weight, config["num_attention_heads"])
        if ".k_proj." in name:
            return interleaved_rows(weight, config["num_key_value_heads"])
    return weight
