"""Merged weights, equal to the formulas of PEFT's `merge_and_unload` computed by torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from graphwright.frontend import capture
from graphwright.ir import Notice, StoredFile
from graphwright.ir.weights import sources
from tests.frontend.adapters.saved import (
    ATTENTION,
    HIDDEN,
    QUERIES,
    RANK,
    Tensors,
    adapter,
    base,
    change,
    merged,
    pair,
    queries,
    random,
    stored,
)
from tests.frontend.compare import assert_round_trip, assert_same_function
from tests.frontend.test_checkpoint import loaded
from tests.tensors import norm

Q0, Q1 = QUERIES


def _assert_merged(folder: Path, tensors: Tensors, scalings: dict[str, float], **settings: Any) -> None:
    """Layers of rank 4 are W + s B A, bit for bit, and everything else is the base's."""
    wanted = stored(base(folder / "base"))
    for path, scaling in scalings.items():
        wanted[f"{path}.weight"] = wanted[f"{path}.weight"] + change(tensors, path, scaling)
    got = merged(folder / "base", adapter(folder / "adapter", tensors, **settings))
    assert got.keys() == wanted.keys()
    for name, weight in wanted.items():
        assert torch.equal(got[name], weight), name


def test_plain(tmp_path: Path) -> None:
    _assert_merged(tmp_path, queries(), {Q0: 2.0, Q1: 2.0})


def test_the_name_of_the_adapter_may_stand_in_the_keys(tmp_path: Path) -> None:
    tensors = queries()
    named = {key.replace(".weight", ".default.weight"): value for key, value in tensors.items()}
    wanted = merged(base(tmp_path / "base"), adapter(tmp_path / "plain", tensors))
    got = merged(tmp_path / "base", adapter(tmp_path / "named", named))
    assert all(torch.equal(got[name], wanted[name]) for name in wanted)


def test_pickled_tensors(tmp_path: Path) -> None:
    tensors = {**queries(), "model.norm.weight": random(HIDDEN)}
    weights = stored(base(tmp_path / "base"))
    got = merged(
        tmp_path / "base", adapter(tmp_path / "adapter", tensors, pickled=True, modules_to_save=["model.norm"])
    )
    assert torch.equal(got[f"{Q0}.weight"], weights[f"{Q0}.weight"] + change(tensors, Q0, 2.0))
    assert torch.equal(got["model.norm.weight"], tensors["model.norm.weight"])


def test_rank_stabilized(tmp_path: Path) -> None:
    scaling = 8 / math.sqrt(RANK)
    _assert_merged(tmp_path, queries(), {Q0: scaling, Q1: scaling}, use_rslora=True)


def test_patterns_of_rank_and_alpha(tmp_path: Path) -> None:
    """A pattern is a path or its end after a dot, as a regular expression, and the first that matches counts."""
    k0, v1 = ATTENTION.format(0, "k"), ATTENTION.format(1, "v")
    tensors = {**queries(), **pair(k0, outputs=32, rank=2), **pair(v1, outputs=32, rank=8)}
    settings: dict[str, Any] = {
        "target_modules": ["q_proj", k0, v1],
        "rank_pattern": {"k_proj": 2, r"layers\.[01]\.self_attn.v_proj": 8, "v_proj": 3},
        "alpha_pattern": {"1.self_attn.q_proj": 3, "proj": 100, "^model.layers.0.self_attn.k_proj": 5},
    }
    # `^` stands inside of the expression that PEFT makes, after the optional beginning of a path.
    _assert_merged(tmp_path, tensors, {Q0: 2.0, Q1: 0.75, k0: 2.5, v1: 1.0}, **settings)


def test_narrow_weights_are_rounded_once(tmp_path: Path) -> None:
    weights = stored(base(tmp_path / "base", dtype=torch.bfloat16))
    folder = adapter(tmp_path / "adapter", queries())
    got = merged(tmp_path / "base", folder)[f"{Q0}.weight"]
    exact = weights[f"{Q0}.weight"].float() + change(queries(), Q0, 2.0)
    assert torch.equal(got, exact.bfloat16())
    # Captured in float32 nothing is rounded.
    assert torch.equal(merged(tmp_path / "base", folder, torch.float32)[f"{Q0}.weight"], exact)


def test_magnitudes(tmp_path: Path) -> None:
    """DoRA: the rows of W + s B A with the lengths that were learned."""
    tensors = {**queries(), **{f"{path}.lora_magnitude_vector": random(HIDDEN).abs() + 1 for path in QUERIES}}
    weights = stored(base(tmp_path / "base"))
    got = merged(tmp_path / "base", adapter(tmp_path / "adapter", tensors, use_dora=True))
    for path in QUERIES:
        changed = weights[f"{path}.weight"] + change(tensors, path, 2.0)
        wanted = changed * (tensors[f"{path}.lora_magnitude_vector"] / norm(changed, dim=1))[:, None]
        # The sum of 64 squares in another order, then a root and two more roundings.
        assert torch.allclose(got[f"{path}.weight"], wanted, rtol=36 * torch.finfo(torch.float32).eps, atol=0)


def test_bias_of_b(tmp_path: Path) -> None:
    tensors = {**queries(), **{f"{path}.lora_B.bias": random(HIDDEN, seed=3) for path in QUERIES}}
    weights = stored(base(tmp_path / "base", "qwen2"))
    got = merged(tmp_path / "base", adapter(tmp_path / "adapter", tensors, lora_bias=True))
    assert torch.equal(got[f"{Q1}.bias"], weights[f"{Q1}.bias"] + tensors[f"{Q1}.lora_B.bias"] * 2.0)
    assert torch.equal(got[f"{Q1}.weight"], weights[f"{Q1}.weight"] + change(tensors, Q1, 2.0))


def test_biases_that_were_trained(tmp_path: Path) -> None:
    """`bias="all"`: those of layers with LoRA are saved as the base layer's, the others plainly."""
    key = ATTENTION.format(0, "k") + ".bias"
    tensors = {**queries(), f"{Q0}.base_layer.bias": random(HIDDEN), key: random(32)}
    got = merged(base(tmp_path / "base", "qwen2"), adapter(tmp_path / "adapter", tensors, bias="all"))
    assert torch.equal(got[f"{Q0}.bias"], tensors[f"{Q0}.base_layer.bias"])
    assert torch.equal(got[key], tensors[key])


def test_layers_that_store_columns(tmp_path: Path) -> None:
    """GPT-2's Conv1D holds [in, out], whatever the settings say of it."""
    path = "transformer.h.0.attn.c_attn"
    tensors = {k: v for i in range(2) for k, v in pair(path.replace("0", str(i)), outputs=192).items()}
    weights = stored(base(tmp_path / "base", "gpt2"))
    for flag in (True, False):
        settings: dict[str, Any] = {"target_modules": ["c_attn"], "fan_in_fan_out": flag}
        got = merged(tmp_path / "base", adapter(tmp_path / "adapter", tensors, **settings))
        assert torch.equal(got[f"{path}.weight"], weights[f"{path}.weight"] + change(tensors, path, 2.0).T)


def test_experts_in_one_parameter(tmp_path: Path) -> None:
    """`target_parameters`: the first parameter of the module is wrapped first, so its tensors lie innermost."""
    experts, inner = 4, 128
    sizes = {"gate_up_proj": (HIDDEN, 2 * inner), "down_proj": (inner, HIDDEN)}
    tensors: Tensors = {}
    for layer in range(2):
        owner = f"model.layers.{layer}.mlp.experts"
        for path, (inputs, outputs) in zip((f"{owner}.base_layer", owner), sizes.values(), strict=True):
            tensors |= pair(path, inputs, outputs, experts * RANK, seed=layer)
    settings: dict[str, Any] = {"target_modules": [], "target_parameters": [f"experts.{name}" for name in sizes]}
    before = loaded(base(tmp_path / "base", "mixtral")).state_dict()
    got = merged(tmp_path / "base", adapter(tmp_path / "adapter", tensors, **settings))
    owner = "model.layers.1.mlp.experts"
    for path, (name, (inputs, outputs)) in zip((f"{owner}.base_layer", owner), sizes.items(), strict=True):
        a = tensors[f"{path}.lora_A.weight"].reshape(experts, RANK, inputs)
        b = tensors[f"{path}.lora_B.weight"].reshape(outputs, RANK, experts)
        wanted = before[f"{owner}.{name}"] + torch.einsum("ore,eri->eoi", b, a) * 2.0
        # The change is a sum of four products.
        assert torch.allclose(got[f"{owner}.{name}"], wanted, rtol=0, atol=4 * torch.finfo(torch.float32).eps)


def test_experts_as_layers_of_their_own(tmp_path: Path) -> None:
    """As they are in the files, and were in the model when older adapters were trained."""
    paths = [f"model.layers.{i}.block_sparse_moe.experts.{e}.w1" for i in range(2) for e in range(4)]
    tensors = {k: v for seed, path in enumerate(paths) for k, v in pair(path, outputs=128, seed=seed).items()}
    folder = adapter(tmp_path / "adapter", tensors, target_modules=["w1"])
    weights = stored(base(tmp_path / "base", "mixtral"))
    got = merged(tmp_path / "base", folder)["model.layers.1.mlp.experts.gate_up_proj"]
    for expert in range(4):
        path = paths[4 + expert]
        assert torch.equal(got[expert, :128], weights[f"{path}.weight"] + change(tensors, path, 2.0))
        assert torch.equal(got[expert, 128:], weights[f"{path[:-2]}w3.weight"])


def test_the_whole_model_with_an_adapter_beside_it(tmp_path: Path) -> None:
    model = loaded(base(tmp_path))
    adapter(tmp_path, queries())
    with pytest.warns(Notice, match=r"adapter_config\.json: the adapter beside the model is merged into its weights$"):
        program = capture(tmp_path)
    for path in QUERIES:
        model.get_submodule(path).weight.data += change(queries(), path, 2.0)
    assert_same_function(program, model)
    assert_round_trip(program)
    files = {Path(s.path) for s in sources(program.weights[f"{Q0}.weight"].expression) if isinstance(s, StoredFile)}
    assert files == {tmp_path / "model.safetensors", tmp_path / "adapter_model.safetensors"}
