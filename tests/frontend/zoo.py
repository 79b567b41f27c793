"""Tiny random models of many architectures: two layers, and every parameter away from its neutral value."""

from __future__ import annotations

from typing import Any

import torch
import transformers

WINDOW = 8
CONTEXT = 512
_SPECIAL = {"bos_token_id": 1, "eos_token_id": 2}
_COMMON = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 256,
    "max_position_embeddings": CONTEXT,
    "pad_token_id": 0,
    **_SPECIAL,
}
_GROUPED = {**_COMMON, "num_key_value_heads": 2}
_OPENAI = {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 256, "n_positions": CONTEXT, **_SPECIAL}
_HEADS_16 = {**_GROUPED, "head_dim": 16}

NAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", _GROUPED),
    "mistral": ("Mistral", {**_GROUPED, "sliding_window": WINDOW}),
    "qwen2": ("Qwen2", _GROUPED),
    "qwen3": ("Qwen3", _HEADS_16),
    "gpt2": ("GPT2", _OPENAI),
    "phi3": ("Phi3", _GROUPED),
    "gemma2": ("Gemma2", {**_HEADS_16, "sliding_window": WINDOW, "query_pre_attn_scalar": 16}),
}
"""The architectures that the project names."""

OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "bloom": ("Bloom", {"hidden_size": 64, "n_layer": 2, "n_head": 4, "vocab_size": 256}),
    "cohere": ("Cohere", _GROUPED),
    "falcon": (
        "Falcon",
        {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 256, **_SPECIAL},
    ),
    "gemma3": (
        "Gemma3",
        {
            **_HEADS_16,
            "sliding_window": WINDOW,
            "query_pre_attn_scalar": 16,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    "glm4": ("Glm4", _HEADS_16),
    "gpt_neox": ("GPTNeoX", _COMMON),
    "gptj": ("GPTJ", {**_OPENAI, "rotary_dim": 8}),
    "granite": ("Granite", {**_GROUPED, "residual_multiplier": 0.22, "embedding_multiplier": 12.0}),
    "olmo2": ("Olmo2", _GROUPED),
    "opt": ("OPT", {**_COMMON, "ffn_dim": 128, "word_embed_proj_dim": 64}),
    "smollm3": ("SmolLM3", _GROUPED),
    "stablelm": ("StableLm", _GROUPED),
    "starcoder2": ("Starcoder2", _GROUPED),
}


def configuration(name: str, **overrides: Any) -> Any:
    family, options = {**NAMED, **OTHERS}[name]
    configs = [getattr(transformers, f"{family}{suffix}", None) for suffix in ("TextConfig", "Config")]
    return next(c for c in configs if c is not None)(**{**options, **overrides})


def tiny(name: str, **overrides: Any) -> Any:
    """A causal language model in evaluation mode."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(configuration(name, **overrides))
    shake(model)
    return model.eval()


def shake(model: torch.nn.Module) -> None:
    """Moves every parameter off its initial value: biases of zero and scales of one hide mistakes."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator, dtype=torch.float32))
