"""Tiny random models built from transformers' configuration classes, and the hand-written ones of the tests."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from tests.tensors import manual_seed

SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""One layer: a second like it costs a second to trace, and as much to compile."""
TWO = {**SMALL, "num_hidden_layers": 2}
MULTI_HEAD = {k: v for k, v in SMALL.items() if k != "num_key_value_heads"}

CONFIGURATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", TWO),
    "mistral": ("Mistral", {**SMALL, "sliding_window": 8}),
    "qwen2": ("Qwen2", SMALL),
    "qwen3": ("Qwen3", {**SMALL, "head_dim": 32}),
    "phi3": ("Phi3", SMALL),
    "gemma2": ("Gemma2", {**TWO, "head_dim": 32, "sliding_window": 8, "query_pre_attn_scalar": 20}),
    "gpt2": ("GPT2", {"n_embd": 64, "n_layer": 1, "n_head": 4, "vocab_size": 256, "n_positions": 512}),
    "gemma3": (
        "Gemma3",
        {
            **TWO,
            "head_dim": 32,
            "sliding_window": 8,
            "query_pre_attn_scalar": 20,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    "gpt_neox": ("GPTNeoX", MULTI_HEAD),
    "starcoder2": ("Starcoder2", {**SMALL, "sliding_window": None}),
    "olmo2": ("Olmo2", SMALL),
    "granite": ("Granite", {**SMALL, "residual_multiplier": 0.22, "embedding_multiplier": 12.0}),
    "cohere": ("Cohere", SMALL),
    "stablelm": ("StableLm", SMALL),
    "smollm3": ("SmolLM3", {**TWO, "no_rope_layers": [1, 0]}),
    "glm4": ("Glm4", {**SMALL, "head_dim": 32}),
    "bloom": ("Bloom", {"hidden_size": 64, "n_layer": 1, "n_head": 4, "vocab_size": 256}),
    "falcon": ("Falcon", MULTI_HEAD),
    "opt": ("OPT", {**MULTI_HEAD, "ffn_dim": 128, "word_embed_proj_dim": 64}),
    "gptj": ("GPTJ", {"n_embd": 64, "n_layer": 1, "n_head": 4, "vocab_size": 256, "n_positions": 512, "rotary_dim": 8}),
    "mixtral": ("Mixtral", {**SMALL, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "gpt_oss": (
        "GptOss",
        {**TWO, "head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8},
    ),
    "deepseek_v3": (
        "DeepseekV3",
        {
            **MULTI_HEAD,
            "num_hidden_layers": 2,
            "q_lora_rank": 24,
            "kv_lora_rank": 16,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 16,
            "v_head_dim": 16,
            "first_k_dense_replace": 1,
            "moe_intermediate_size": 32,
            "n_routed_experts": 8,
            "num_experts_per_tok": 2,
            "n_group": 2,
            "topk_group": 1,
        },
    ),
}
NAMED = ("llama", "mistral", "qwen2", "qwen3", "phi3", "gemma2", "gpt2")
"""The architectures whose support is promised first; the others come along by mechanism."""


def make(name: str, **changes: Any) -> torch.nn.Module:
    """A seeded random model in eval mode, its weights scaled so that attention is far from uniform."""
    import transformers

    prefix, options = CONFIGURATIONS[name]
    config_name = f"{prefix}TextConfig" if prefix == "Gemma3" else f"{prefix}Config"
    config = getattr(transformers, config_name)(**{**options, **changes})
    config.use_cache = False
    config._experts_implementation = "eager"  # the grouped product has no float64
    head = "GPT2LMHeadModel" if prefix == "GPT2" else f"{prefix}ForCausalLM"
    manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(transformers, head)(config)
    return scaled(model)


def scaled(model: Any) -> Any:
    """The model in eval mode with weights so large that attention is far from uniform, and no two norms alike."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()
