"""Tiny random models of many architectures, every parameter away from its neutral value.

One layer, for a second costs another second to trace; two where the first is not like the second. Those of other
architectures are in `tests/models/zoo.py`, of several like layers too.
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import torch
import transformers

from graphwright.frontend import capture
from graphwright.ir import Program
from tests.captures import shared
from tests.tensors import manual_seed

WINDOW = 8
CONTEXT = 512
_SPECIAL = {"bos_token_id": 1, "eos_token_id": 2}
_COMMON = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "vocab_size": 256,
    "max_position_embeddings": CONTEXT,
    "pad_token_id": 0,
    **_SPECIAL,
}
_GROUPED = {**_COMMON, "num_key_value_heads": 2}
_OPENAI = {"n_embd": 64, "n_layer": 1, "n_head": 4, "vocab_size": 256, "n_positions": CONTEXT, **_SPECIAL}
_HEADS_16 = {**_GROUPED, "head_dim": 16}

DENSE: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", _GROUPED),
    "qwen2": ("Qwen2", _GROUPED),
    "gpt2": ("GPT2", _OPENAI),
    "gemma2": (
        "Gemma2",
        {**_HEADS_16, "num_hidden_layers": 2, "sliding_window": WINDOW, "query_pre_attn_scalar": 16},
    ),
    "granite": ("Granite", {**_GROUPED, "residual_multiplier": 0.22, "embedding_multiplier": 12.0}),
}

_EXPERTS = {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}
_MANY_EXPERTS = {**_GROUPED, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48, "head_dim": 16}
_GROUPED_EXPERTS = {
    **_HEADS_16,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "n_group": 4,
    "topk_group": 2,
    "moe_intermediate_size": 48,
    "first_k_dense_replace": 0,
    "n_shared_experts": 1,
}
_LATENT = {
    "head_dim": 8,
    "num_key_value_heads": 4,
    "q_lora_rank": 32,
    "kv_lora_rank": 32,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
}

MIXTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "mixtral": ("Mixtral", _EXPERTS),
    "qwen2_moe": ("Qwen2Moe", {**_MANY_EXPERTS, "shared_expert_intermediate_size": 48}),
    "qwen3_moe": ("Qwen3Moe", _MANY_EXPERTS),
    "olmoe": ("Olmoe", {**_GROUPED, "num_experts": 4, "num_experts_per_tok": 2}),
    "deepseek_v3": ("DeepseekV3", {**_GROUPED_EXPERTS, **_LATENT, "num_hidden_layers": 2, "first_k_dense_replace": 1}),
    "gpt_oss": ("GptOss", {**_EXPERTS, "num_hidden_layers": 2, "head_dim": 16, "sliding_window": WINDOW}),
}
"""Mixtures of experts whose routing the project names."""

OTHER_MIXTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "afmoe": ("Afmoe", {**_MANY_EXPERTS, "num_dense_layers": 0}),
    "cohere2_moe": ("Cohere2Moe", _MANY_EXPERTS),
    "dots1": ("Dots1", _GROUPED_EXPERTS),
    "ernie4_5_moe": (
        "Ernie4_5_Moe",
        {
            **_GROUPED,
            "moe_layer_start_index": 0,
            "moe_num_experts": 4,
            "moe_k": 2,
            "moe_intermediate_size": 48,
            "moe_num_shared_experts": 1,
        },
    ),
    "exaone_moe": ("ExaoneMoe", {**_MANY_EXPERTS, "first_k_dense_replace": 0}),
    "flex_olmo": ("FlexOlmo", {**_GROUPED, "num_experts": 4, "num_experts_per_tok": 2}),
    "glm4_moe": ("Glm4Moe", _GROUPED_EXPERTS),
    "glm4_moe_lite": ("Glm4MoeLite", {**_GROUPED_EXPERTS, **_LATENT, "num_hidden_layers": 2}),
    "granitemoe": ("GraniteMoe", _EXPERTS),
    "granitemoeshared": ("GraniteMoeShared", {**_EXPERTS, "shared_intermediate_size": 48}),
    "hunyuan_v1_moe": ("HunYuanMoEV1", {**_HEADS_16, "num_experts": 4, "moe_topk": 2}),
    "minimax_m2": ("MiniMaxM2", {**_EXPERTS, "head_dim": 16}),
    "mimo_v2_flash": ("MiMoV2Flash", {**_GROUPED_EXPERTS, "num_hidden_layers": 2, "num_experts_per_tok": 2}),
    "solar_open": ("SolarOpen", {**_GROUPED_EXPERTS, "n_group": 1, "topk_group": 1}),
}


def configuration(name: str, **overrides: Any) -> Any:
    family, options = {**DENSE, **MIXTURES, **OTHER_MIXTURES}[name]
    configs = [getattr(transformers, f"{family}{suffix}", None) for suffix in ("TextConfig", "Config")]
    return next(c for c in configs if c is not None)(**{**options, **overrides})


def tiny(name: str, **overrides: Any) -> Any:
    """A causal language model in evaluation mode."""
    manual_seed(0)
    model = cast(Any, transformers.AutoModelForCausalLM).from_config(configuration(name, **overrides))
    shake(model)
    if name in MIXTURES or name in OTHER_MIXTURES:
        # The library's own default does not run in float64.
        model.set_experts_implementation("eager")
    return model.eval()


@cache
def captured(name: str) -> Program:
    """What is captured of `tiny(name)`, once in a process: who changes it takes a clone."""
    return shared(f"frontend {name}", lambda: capture(tiny(name)))


def shake(model: torch.nn.Module) -> None:
    """Moves every parameter off its initial value: biases of zero and scales of one hide mistakes."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator, dtype=torch.float32))
