"""Small configurations out of a class's defaults: known kinds of fields shrink by name, everything else stays.

What makes an architecture itself stays: its pattern of layers, grouped keys and values, experts, low ranks, windows.
Fields that a configuration derives from others (head sizes, layer types) keep their relation to those.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from benchmarks.coverage.overrides import OVERRIDES

WIDTH, HEADS, HEAD_SIZE = 64, 4, 16
VOCABULARY, LONGEST = 256, 512
FEWEST_LAYERS, MOST_LAYERS = 4, 8

LAYERS = re.compile(r"num_hidden_layers|n_layers?|num_(encoder_|decoder_)?layers|(en|de)coder_layers|num_blocks")
HIDDEN = ("hidden_size", "d_model", "n_embd")
HEAD_COUNTS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
TOKEN = re.compile(r".*_token_ids?")
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
OTHER_TOKEN = 3

SIZES: tuple[tuple[str, int], ...] = (
    (r"(\w+_)?vocab_size(_\w+)?", VOCABULARY),
    (r"max_position_embeddings|n_positions|n_ctx|max_seq_len|max_target_positions|context_length", LONGEST),
    (r"(moe|shared_expert|moe_shared_expert|shared_experts|expert)_(intermediate|ffn_hidden)_size", WIDTH),
    (r"(\w+_)?intermediate_size(_mlp)?|(\w+_)?ffn_dim|ffn_hidden_size|n_inner|d_ff|dim_ff", 2 * WIDTH),
    (r"(swa_)?num_key_value_heads|num_kv_heads|kv_n_heads|num_query_groups|linear_num_key_heads", HEADS // 2),
    (r"n_head|(\w+_)?heads", HEADS),
    (r"sliding_window(_size)?|window_size|(attention|keep)_window_size|(local_)?attention(_window_len)?", 8),
    (r"attention_chunk_size|(mamba_)?chunk_size|block_size", 8),
    (r"(relative_attention|position_bias)_(max_distance|num_buckets)|relative_max_distance|num_buckets", 16),
    (r"(ssm_)?state_size|mamba_d_state", 16),
    (r"mamba_d_ssm", 2 * WIDTH),
    (r"time_step_rank|mamba_dt_rank|\w+_lora_rank|\w*rank", HEAD_SIZE),
    (r"\w*n_groups?|mamba_ngroups", 2),
    (r"topk_group", 1),
    (r"num_experts|num_local_experts|n_routed_experts|moe_num_experts", 8),
    (r"num_experts_per_tok(en)?|moe_(topk|k|top_k)|zero_expert_num", 2),
    (r"(moe_)?(num|n)_shared_experts|first_k_dense_replace|num_dense_layers|moe_layer_start_index", 1),
    (r"qk_rope_head_dim|rotary_dim", HEAD_SIZE // 2),
    (r"qk_nope_head_dim|v_head_dim|linear_(key|value)_head_dim|index_head_dim|linear_head_dim|d_kv", HEAD_SIZE),
    (r"index_topk", 4),
    (r"query_pre_attn_scalar", 20),
    (r"image_size", 32),
    (r"patch_size", 8),
    (r"num_mel_bins", 16),
    (r"max_source_positions", 32),
)
"""Names of fields, and what their values are at most; the first that fits counts."""

MAMBA_HEAD_SIZE = re.compile(r"mamba_(d_head|head_dim|headdim)")
PROPORTIONAL = re.compile(r"lru_width|attention_hidden_size|embedding_size|\w+_embed_proj_dim|hidden_size_global")
"""Widths that keep their ratio to the hidden size."""


def small_configuration(config_class: Any, architecture: str = "") -> Any:
    """A small configuration of the class. Raises what the class raises where its parts do not fit together."""
    options = {**shrunk(config_class()), **OVERRIDES.get(architecture, {})}
    return config_class(**options)


def shrunk(default: Any) -> dict[str, Any]:
    """The arguments of a small configuration, from one that has the class's defaults."""
    fields = _fields(default)
    layers = _kept_layers(default)
    options: dict[str, Any] = {}
    for name, value in fields.items():
        small = _shrunk_field(name, value, fields, layers)
        if small is not value:
            options[name] = small
    return options


def _fields(default: Any) -> dict[str, Any]:
    """What the class's constructor takes, with the values that the default came to have."""
    names = inspect.signature(type(default).__init__).parameters
    fields: dict[str, Any] = {}
    for name in names:
        try:
            fields[name] = getattr(default, name)
        except Exception:  # not there, or with another value in each layer
            continue
    return fields


def _shrunk_field(name: str, value: Any, fields: Mapping[str, Any], layers: Sequence[int]) -> Any:
    depth = _depth(fields)
    if _is_configuration(value):
        return type(value)(**shrunk(value))
    if isinstance(value, (list, tuple)):
        return _shrunk_list(name, cast("Sequence[Any]", value), depth, layers)
    if TOKEN.fullmatch(name):
        return _token(name, value)
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        return value
    if LAYERS.fullmatch(name):
        return len(layers)
    if name in HIDDEN:
        return WIDTH
    if PROPORTIONAL.fullmatch(name):
        return max(8, value * WIDTH // _first(fields, HIDDEN, value))
    if MAMBA_HEAD_SIZE.fullmatch(name):
        return 2 * WIDTH // HEADS
    if name in ("head_dim", "swa_head_dim", "kv_channels", "dim_head"):
        return _head_size(value, fields)
    if name == "num_key_value_heads" and "kv_lora_rank" in fields:
        return HEADS
    return next((min(value, most) for pattern, most in SIZES if re.fullmatch(pattern, name)), value)


def _head_size(value: int, fields: Mapping[str, Any]) -> int:
    """A head size that is what it is by default: the hidden size over the heads, a part of a head, or its own."""
    if value == fields.get("qk_rope_head_dim"):
        return HEAD_SIZE // 2
    hidden, heads = _first(fields, HIDDEN, 0), _first(fields, HEAD_COUNTS, 1)
    return HEAD_SIZE if value * heads == hidden else 2 * HEAD_SIZE


def _first(fields: Mapping[str, Any], names: Sequence[str], otherwise: int) -> int:
    return next((fields[name] for name in names if isinstance(fields.get(name), int)), otherwise)


def _token(name: str, value: Any) -> Any:
    if isinstance(value, int) and value >= VOCABULARY:
        return TOKENS.get(name, OTHER_TOKEN)
    return value


# -- layers


def _depth(fields: Mapping[str, Any]) -> int:
    return next((v for n, v in fields.items() if LAYERS.fullmatch(n) and isinstance(v, int)), 0)


def _kept_layers(default: Any) -> list[int]:
    """Which layers of the default stay: the first ones, at least four, until every kind of layer has been seen.

    A layer's kind is what all lists with an entry a layer say of it. Where a kind comes late, its first layer follows
    after the first three.
    """
    depth = _depth(_fields(default))
    lists = [each for each in _exposed_lists(default) if len(each) == depth and not _is_every_index(each)]
    kinds = [str([each[i] for each in lists]) for i in range(depth)]
    first = sorted({kind: i for i, kind in reversed(list(enumerate(kinds)))}.values())
    count = max(FEWEST_LAYERS, first[-1] + 1 if first else 0)
    if count <= MOST_LAYERS:
        return list(range(count))
    return sorted({*range(FEWEST_LAYERS - 1), *first})[:MOST_LAYERS]


def _exposed_lists(default: Any) -> list[Sequence[Any]]:
    properties = [name for name, _ in inspect.getmembers(cast("Any", type(default)), lambda m: isinstance(m, property))]
    found: list[Sequence[Any]] = []
    for name in dict.fromkeys((*_fields(default), *properties)):
        try:
            value = getattr(default, name)
        except Exception:  # a property that this configuration has no answer for
            continue
        if isinstance(value, (list, tuple)):
            found.append(cast("Sequence[Any]", value))
    return found


def _shrunk_list(name: str, value: Sequence[Any], depth: int, layers: Sequence[int]) -> Any:
    if len(value) == depth:
        places = {old: new for new, old in enumerate(layers)}
        if _is_every_index(value):
            return list(range(len(layers)))
        return [value[old] for old in places]
    if TOKEN.fullmatch(name):
        return [_token(name.removesuffix("s"), item) for item in value]
    numbers = bool(value) and all(type(item) is int and 0 <= item < depth for item in value)
    if numbers and name.endswith(("layers", "ids", "idxs")):
        return [new for new, old in enumerate(layers) if old in value]
    return value


def _is_every_index(value: Sequence[Any]) -> bool:
    """Whether a list names all layers, instead of saying something of each."""
    return list(value) == list(range(len(value)))


def _is_configuration(value: Any) -> bool:
    return hasattr(value, "model_type") and hasattr(value, "to_dict")
