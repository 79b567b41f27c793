"""Tiny random models with recurrent layers, built from transformers' configuration classes."""

from __future__ import annotations

import warnings
from typing import Any, cast

import torch

from tests.tensors import manual_seed

COMMON: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 1,
    "vocab_size": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
HYBRID: dict[str, Any] = {
    **COMMON,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
"""A layer of each kind."""
MAMBA: dict[str, Any] = {**COMMON, "state_size": 8, "time_step_rank": 4}
MAMBA2: dict[str, Any] = {
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_n_groups": 2,
    "mamba_d_state": 16,
    "mamba_chunk_size": 8,
}
DELTA: dict[str, Any] = {
    "head_dim": 16,
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}

CONFIGURATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "mamba": ("Mamba", MAMBA),
    "falcon_mamba": ("FalconMamba", MAMBA),
    "mamba2": (
        "Mamba2",
        {**COMMON, "state_size": 16, "head_dim": 16, "num_heads": 8, "n_groups": 2, "expand": 2, "chunk_size": 8},
    ),
    "bamba": ("Bamba", {**HYBRID, **MAMBA2, "attn_layer_indices": [1]}),
    "falcon_h1": ("FalconH1", {**HYBRID, **MAMBA2, "num_hidden_layers": 1, "mamba_d_ssm": 128}),
    "granite_hybrid": (
        "GraniteMoeHybrid",
        {
            **HYBRID,
            **MAMBA2,
            "layer_types": ["mamba", "attention"],
            "num_local_experts": 0,
            "shared_intermediate_size": 128,
        },
    ),
    "zamba2": (
        "Zamba2",
        {
            **HYBRID,
            "num_hidden_layers": 3,
            "layers_block_type": ["mamba", "hybrid", "hybrid"],
            "mamba_d_state": 16,
            "mamba_headdim": 16,
            "mamba_ngroups": 2,
            "n_mamba_heads": 8,
            "chunk_size": 8,
        },
    ),
    "jamba": (
        "Jamba",
        {
            **HYBRID,
            "mamba_d_state": 8,
            "mamba_dt_rank": 4,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "num_experts": 1,
        },
    ),
    "lfm2": ("Lfm2", {**HYBRID, "layer_types": ["conv", "full_attention"], "block_ff_dim": 128}),
    "qwen3_next": (
        "Qwen3Next",
        {
            **HYBRID,
            **DELTA,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "num_experts": 0,
            "mlp_only_layers": [0, 1],
        },
    ),
    "olmo_hybrid": ("OlmoHybrid", {**HYBRID, **DELTA, "linear_num_key_heads": 4, "linear_num_value_heads": 4}),
    "rwkv": (
        "Rwkv",
        {
            **COMMON,
            "num_hidden_layers": 2,
            "attention_hidden_size": 64,
            "intermediate_size": 128,
            "context_length": 64,
            "rescale_every": 0,
        },
    ),
}


def make(name: str, **changes: Any) -> torch.nn.Module:
    """A seeded random model in eval mode, every parameter away from its neutral value."""
    import transformers

    prefix, options = CONFIGURATIONS[name]
    config = getattr(transformers, f"{prefix}Config")(**{**options, **changes})
    manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = cast(Any, transformers.AutoModelForCausalLM).from_config(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator))
    return model.eval()
