import math

import numpy as np
import pytest

from benchmarks.peers.gguf_checkpoint import (
    frequency_factors,
    gguf_name,
    gpt_oss_experts,
    interleaved_rows,
    joined_experts,
)
from benchmarks.shapes import SHAPES


def test_every_tensor_has_a_name_of_its_own() -> None:
    for name in ("SmolLM2-135M", "Qwen2.5-0.5B", "Llama-3-8B"):
        tensors = [tensor.name for tensor in SHAPES[name].tensors()]
        assert len({gguf_name(tensor) for tensor in tensors}) == len(tensors)
    assert gguf_name("model.layers.3.self_attn.q_proj.bias") == "blk.3.attn_q.bias"
    assert gguf_name("model.norm.weight") == "output_norm.weight"


def test_experts_of_a_layer_are_one_tensor() -> None:
    assert gguf_name("model.layers.1.mlp.experts.0.up_proj.weight", "qwen3_moe") == "blk.1.ffn_up_exps.weight"
    assert gguf_name("model.layers.1.mlp.gate.weight", "qwen3_moe") == "blk.1.ffn_gate_inp.weight"
    single = [(f"model.layers.0.mlp.experts.{e}.up_proj.weight", np.full((2, 3), e, np.float32)) for e in (1, 10, 2)]
    other = ("model.norm.weight", np.ones(3, np.float32))
    (first, _), (name, joined) = joined_experts(iter([*single, other]))
    assert (first, name) == ("model.norm.weight", "model.layers.0.mlp.experts.0.up_proj.weight")
    assert joined[:, 0, 0].tolist() == [1, 2, 10]


def test_experts_of_gpt_oss_have_gate_and_up_apart() -> None:
    weight = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    parts = dict(gpt_oss_experts("model.layers.1.mlp.experts.gate_up_proj", weight))
    assert list(parts) == ["blk.1.ffn_gate_exps.weight", "blk.1.ffn_up_exps.weight"]
    assert parts["blk.1.ffn_gate_exps.weight"][0].tolist() == [[0, 4, 8], [2, 6, 10]]
    (name, bias), *others = gpt_oss_experts("model.layers.1.mlp.experts.down_proj_bias", weight[:, 0])
    assert (name, bias.tolist(), others) == ("blk.1.ffn_down_exps.bias", weight[:, 0].tolist(), [])


def test_rotating_neighbours_of_reordered_rows_rotates_the_halves() -> None:
    rows = np.arange(2 * 6, dtype=np.float32).reshape(12, 1)
    assert interleaved_rows(rows, heads=2)[:, 0].tolist() == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]


def test_long_waves_are_slowed_and_short_ones_kept() -> None:
    scaling = dict(SHAPES["Llama-3.2-1B"].rope_scaling)
    config = {"head_dim": 64, "rope_theta": 500_000.0, "rope_scaling": scaling}
    factors = frequency_factors(config)
    wavelengths = 2 * math.pi * 500_000.0 ** (np.arange(32) / 32)
    assert set(factors[wavelengths < 8192 / 4]) == {1.0}
    assert set(factors[wavelengths > 8192]) == {32.0}
    assert np.all(np.diff(factors) >= 0)


def test_another_scaling_is_refused() -> None:
    config = {"head_dim": 64, "rope_theta": 1e4, "rope_scaling": {"rope_type": "yarn"}}
    with pytest.raises(ValueError, match="yarn"):
        frequency_factors(config)
