"""The models that faults are planted in: tiny, random, attention far from uniform, some embeddings near zero."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn

from benchmarks.coverage.models import library
from benchmarks.mutations.by_hand import ByHand
from graphwright.ir import Dim, DType, QuantizedType
from graphwright.ir.quantized import QuantizedTensor
from graphwright.ir.rounding import quantize

VOCABULARY = 256
WINDOW = 6
GAIN, VECTOR_NOISE = 3.0, 0.1
"""What matrices are multiplied by, and the size of what is added to vectors, so that no two norms are alike."""
NEAR_ZERO = (17, 60, 101, 149, 203, 240)
"""Token ids whose embeddings are so small that the epsilon of a norm decides what becomes of them."""
NEAR_ZERO_LENGTHS = (1e-4, 1e-3)
"""Euclidean lengths of the smallest and of the largest of them."""

COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED: dict[str, Any] = {**COMMON, "num_key_value_heads": 2, "head_dim": 16}


def qwen() -> nn.Module:
    """Grouped queries, norms on queries and keys, a window on the first and the last of three layers, tied head."""
    pattern = ["sliding_attention", "full_attention", "sliding_attention"]
    options = {**GROUPED, "num_hidden_layers": 3, "layer_types": pattern, "sliding_window": WINDOW}
    return _random("Qwen3", {**options, "use_sliding_window": True, "tie_word_embeddings": True})


def half() -> nn.Module:
    """A Llama in bfloat16, with a head of its own."""
    return _random("Llama", {**GROUPED, "tie_word_embeddings": False}).bfloat16()


def gpt2() -> nn.Module:
    """Learned positions, LayerNorm with bias, q, k and v from one product with bias, GELU by tanh."""
    options = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}
    return _random("GPT2", {**options, "bos_token_id": 1, "eos_token_id": 2}, "LMHeadModel")


def gemma() -> nn.Module:
    """Soft caps on scores and logits, norms by 1 + w before and after each part, scaled embeddings, a window."""
    caps = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0}
    return _random("Gemma2", {**GROUPED, **caps, "sliding_window": WINDOW, "query_pre_attn_scalar": 20})


def deepseek() -> nn.Module:
    """Latent attention: keys and values from one small latent beside rotary keys that all heads share."""
    sizes = {"q_lora_rank": 24, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16, "v_head_dim": 16}
    return _random("DeepseekV3", {**COMMON, **sizes, "first_k_dense_replace": 2})


def hybrid() -> nn.Module:
    """A layer of Mamba-2, with its convolution, and one of attention."""
    sizes = {"d_state": 8, "n_heads": 8, "d_head": 8, "n_groups": 2, "chunk_size": 8}
    options = {**COMMON, "num_key_value_heads": 2, "attn_layer_indices": [1]}
    return _random("Bamba", {**options, **{f"mamba_{name}": value for name, value in sizes.items()}})


def translator() -> nn.Module:
    """An encoder and a decoder with relative positions and cross-attention."""
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    tokens = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 2}
    return _random("T5", {"vocab_size": VOCABULARY, **sizes, **tokens}, "ForConditionalGeneration")


def coded() -> nn.Module:
    """A Llama whose projections have weights of 4 bits in groups of 16, as a quantized checkpoint does."""
    model: Any = _random("Llama", {**GROUPED, "num_hidden_layers": 1, "tie_word_embeddings": False})
    codes: dict[str, QuantizedTensor] = {}
    for name, module in model.model.layers.named_modules(prefix="model.layers"):
        if isinstance(module, nn.Linear):
            rows, columns = module.weight.shape
            type = QuantizedType(DType.U4, (Dim.of(rows), Dim.of(columns)), 16, DType.F16)
            codes[f"{name}.weight"] = found = quantize(module.weight.data, type, "absmax")
            module.weight.data = found.dequantize(torch.float32)
    model.codes = codes
    return model


def mixtral() -> nn.Module:
    """Two of four experts for each token, a window on every layer."""
    return _random("Mixtral", {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": WINDOW})


def by_hand() -> nn.Module:
    """Everything spelt out; see `by_hand.py`."""
    _seed()
    return _prepared(ByHand())


MAKERS: dict[str, Callable[[], nn.Module]] = {
    each.__name__: each for each in (qwen, half, gpt2, gemma, deepseek, hybrid, translator, coded, by_hand)
}

LOWERED_MAKERS: dict[str, Callable[[], nn.Module]] = {"mixtral": mixtral}
"""Models that are there for faults in their lowering alone."""


def _random(prefix: str, options: dict[str, Any], head: str = "ForCausalLM") -> nn.Module:
    configuration = getattr(library(), f"{prefix}Config")(**options)
    configuration.use_cache = False
    _seed()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _prepared(getattr(library(), f"{prefix}{head}")(configuration))


def _seed() -> None:
    cast("Any", torch).manual_seed(0)


def _prepared(model: nn.Module) -> nn.Module:
    """In evaluation mode, weights scaled, some rows of the embedding made near zero."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1 and parameter.mean().abs() < parameter.std():
                parameter.mul_(GAIN)
            else:
                parameter.add_(torch.randn_like(parameter) * VECTOR_NOISE)
        table = next(m for m in model.modules() if isinstance(m, nn.Embedding)).weight
        low, high = NEAR_ZERO_LENGTHS
        for i, token in enumerate(NEAR_ZERO):
            length = low * (high / low) ** (i / (len(NEAR_ZERO) - 1))
            table[token] *= length / table[token].square().sum().sqrt()
    return model.eval()
