"""Writes a Hugging Face checkpoint of a measured shape as GGUF in float32; runs in `.peers/llama-cpp`."""

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
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate": "ffn_gate_inp",
    "mlp.router": "ffn_gate_inp",
}
_ARCHITECTURES = {"qwen3_moe": "qwen3moe", "gpt_oss": "gpt-oss"}
"""llama.cpp's names of architectures, where they are not those of `model_type`."""


def write_gguf(checkpoint: Path, file: Path) -> None:
    """Write `file` with sizes and weights of the checkpoint, and without a tokenizer: token ids go in and out."""
    gguf = importlib.import_module("gguf")
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(str(file), _ARCHITECTURES.get(config["model_type"], config["model_type"]))
    _write_sizes(writer, config)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    if "rope_scaling" in config:
        writer.add_tensor("rope_freqs.weight", frequency_factors(config))
    for name, weight in joined_experts(_weights(checkpoint)):
        if ".experts." in name and config["model_type"] == "gpt_oss":
            for part, rows in gpt_oss_experts(name, weight):
                writer.add_tensor(part, rows)
        else:
            writer.add_tensor(gguf_name(name, config["model_type"]), _in_llama_order(name, weight, config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_name(name: str, model_type: str = "llama") -> str:
    """The name that llama.cpp gives to a tensor of the checkpoint; of experts, to all of them together."""
    if name in _WHOLE:
        return _WHOLE[name]
    _, _, layer, rest = name.split(".", 3)
    if rest == "self_attn.sinks":
        return f"blk.{layer}.attn_sinks.weight"
    module, _, kind = rest.rpartition(".")
    if module == "post_attention_layernorm" and model_type == "gpt_oss":
        return f"blk.{layer}.post_attention_norm.{kind}"
    if module.startswith("mlp.experts."):
        projection = module.rpartition(".")[2]
        return f"blk.{layer}.{_LAYER[f'mlp.{projection}']}_exps.{kind}"
    return f"blk.{layer}.{_LAYER[module]}.{kind}"


def gpt_oss_experts(name: str, weight: Weight) -> Iterator[tuple[str, Weight]]:
    """The experts of gpt-oss, [experts, in, out] with gate and up in turn, as llama.cpp has them: rows by output."""
    _, _, layer, rest = name.split(".", 3)
    module, _, bias = rest.removeprefix("mlp.experts.").partition("_proj")
    kind = "bias" if bias else "weight"
    rows = weight if bias else weight.swapaxes(1, 2)
    parts = {"ffn_gate_exps": rows[:, ::2], "ffn_up_exps": rows[:, 1::2]} if module == "gate_up" else {}
    for part, each in (parts or {"ffn_down_exps": rows}).items():
        yield f"blk.{layer}.{part}.{kind}", np.ascontiguousarray(each)


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
    experts = config.get("num_experts", config.get("num_local_experts"))
    if experts is not None:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(config["num_experts_per_tok"])
        writer.add_expert_feed_forward_length(config["intermediate_size"])
    if config["model_type"] == "gpt_oss":
        writer.add_sliding_window(config["sliding_window"])
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


def joined_experts(weights: Iterator[tuple[str, Weight]]) -> Iterator[tuple[str, Weight]]:
    """Tensors as they are, but for those of one expert each: the first, with all of its kind put together."""
    single: dict[str, dict[int, Weight]] = {}
    for name, weight in weights:
        before, found, after = name.partition(".experts.")
        number, _, rest = after.partition(".")
        if found and number.isdecimal():
            single.setdefault(f"{before}.experts.0.{rest}", {})[int(number)] = weight
        else:
            yield name, weight
    for name, by_expert in single.items():
        yield name, np.stack([by_expert[number] for number in sorted(by_expert)])


def _in_llama_order(name: str, weight: Weight, config: dict[str, Any]) -> Weight:
    if config["model_type"] == "llama":
        if ".q_proj." in name:
            return interleaved_rows(weight, config["num_attention_heads"])
        if ".k_proj." in name:
            return interleaved_rows(weight, config["num_key_value_heads"])
    return weight
