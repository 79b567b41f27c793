"""Small configurations keep what makes an architecture itself."""

from __future__ import annotations

import pytest
import transformers

from benchmarks.coverage.architectures import CAUSAL, ENCODER_DECODERS, FUNCTIONS
from benchmarks.coverage.models import model_class
from benchmarks.coverage.overrides import OVERRIDES
from benchmarks.coverage.shrinking import VOCABULARY, WIDTH, shrunk, small_configuration


def test_heads_share_keys_and_values_and_tokens_lie_in_the_vocabulary() -> None:
    config = small_configuration(transformers.Qwen2Config)
    assert (config.num_attention_heads, config.num_key_value_heads, config.hidden_size) == (4, 2, WIDTH)
    assert (config.num_hidden_layers, config.vocab_size) == (4, VOCABULARY)
    tokens = small_configuration(transformers.CohereConfig)
    assert all(t is None or t < VOCABULARY for t in (tokens.bos_token_id, tokens.eos_token_id, tokens.pad_token_id))


def test_enough_layers_stay_to_show_every_kind() -> None:
    """Gemma 3 attends to everything in every sixth layer."""
    config = small_configuration(transformers.Gemma3TextConfig)
    assert config.layer_types == ["sliding_attention"] * 5 + ["full_attention"]
    assert (config.num_hidden_layers, config.sliding_window) == (6, 8)


def test_a_late_kind_of_layer_is_brought_forward() -> None:
    config = transformers.Gemma3TextConfig(layer_types=["sliding_attention"] * 20 + ["full_attention"] * 6)
    assert shrunk(config)["layer_types"] == ["sliding_attention"] * 3 + ["full_attention"]
    assert shrunk(config)["num_hidden_layers"] == 4


def test_the_first_dense_layers_and_the_low_ranks_stay() -> None:
    config = small_configuration(transformers.DeepseekV3Config)
    assert config.first_k_dense_replace == 1
    assert (config.n_routed_experts, config.num_experts_per_tok, config.n_group, config.topk_group) == (8, 2, 2, 1)
    assert (config.kv_lora_rank, config.q_lora_rank, config.qk_nope_head_dim, config.qk_rope_head_dim) == (
        16,
        16,
        16,
        8,
    )
    assert config.num_key_value_heads == config.num_attention_heads


def test_a_head_size_of_its_own_stays_one() -> None:
    """Gemma's heads are wider than the hidden size over their number, Llama's are not."""
    assert small_configuration(transformers.GemmaConfig).head_dim == 32
    assert small_configuration(transformers.LlamaConfig).head_dim == 16


@pytest.mark.parametrize("architecture", [*CAUSAL, *ENCODER_DECODERS, *FUNCTIONS])
def test_every_listed_architecture_has_a_small_configuration(architecture: str) -> None:
    config = small_configuration(model_class(architecture).config_class, architecture)
    assert config.get_text_config().hidden_size <= WIDTH


def test_overrides_are_few() -> None:
    assert len(OVERRIDES) <= 8
