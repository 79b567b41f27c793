"""What shrinking by names gets wrong, as data: arguments of an architecture's configuration."""

from __future__ import annotations

from typing import Any

OVERRIDES: dict[str, dict[str, Any]] = {
    # The pattern is nested in a list of its own form.
    "GPTNeoForCausalLM": {"attention_types": [[["global", "local"], 2]]},
    # By default, attention or recurrence in every layer, which no published model has.
    "Lfm2ForCausalLM": {"layer_types": ["conv", "conv", "full_attention", "conv"]},
    "BambaForCausalLM": {"attn_layer_indices": [2]},
    # The defaults leave out what the model needs.
    "NemotronForCausalLM": {"num_key_value_heads": 2},
    "DeepseekV2ForCausalLM": {"num_experts_per_tok": 2, "first_k_dense_replace": 1},
}
