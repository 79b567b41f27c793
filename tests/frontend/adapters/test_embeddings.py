"""Adapters of embeddings: tied ones, other vocabularies, rows of single tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from graphwright.frontend import capture
from graphwright.ir import WeightError
from tests.frontend.adapters.saved import HIDDEN, RANK, Tensors, adapter, base, merged, pair, random, stored
from tests.frontend.compare import assert_same_function
from tests.frontend.test_checkpoint import loaded

VOCABULARY = 256
EMBED, HEAD = "model.embed_tokens", "lm_head"
TIED: dict[str, Any] = {"tie_word_embeddings": True}


def of_embedding(rows: int = VOCABULARY) -> Tensors:
    return {f"{EMBED}.lora_embedding_A": random(RANK, rows), f"{EMBED}.lora_embedding_B": random(HIDDEN, RANK)}


def _change(tensors: Tensors) -> torch.Tensor:
    return (tensors[f"{EMBED}.lora_embedding_B"] @ tensors[f"{EMBED}.lora_embedding_A"]).T * 2.0


def test_an_embedding(tmp_path: Path) -> None:
    tensors = of_embedding()
    got = merged(base(tmp_path / "base"), adapter(tmp_path / "adapter", tensors, target_modules=["embed_tokens"]))
    weights = stored(tmp_path / "base")
    assert torch.equal(got[f"{EMBED}.weight"], weights[f"{EMBED}.weight"] + _change(tensors))
    assert torch.equal(got[f"{HEAD}.weight"], weights[f"{HEAD}.weight"])


@pytest.mark.parametrize("target", [EMBED, HEAD])
def test_a_tied_weight_that_changes_under_one_name_is_tied_no_more(tmp_path: Path, target: str) -> None:
    """The adapter was trained beside the other's unchanged weight."""
    tensors = of_embedding() if target == EMBED else pair(HEAD, outputs=VOCABULARY)
    folder = adapter(tmp_path / "adapter", tensors, target_modules=[target])
    model = loaded(base(tmp_path / "base", **TIED))
    weight = model.lm_head.weight.data
    a, b = (value for _, value in sorted(tensors.items()))
    changed = weight + ((b @ a).T if target == EMBED else b @ a) * 2.0
    got = merged(tmp_path / "base", folder)
    assert torch.equal(got[f"{target}.weight"], changed)
    assert torch.equal(got[f"{HEAD if target == EMBED else EMBED}.weight"], weight)
    if target == HEAD:
        model.get_submodule(target).weight = torch.nn.Parameter(changed)
        assert_same_function(capture(tmp_path / "base", adapter=folder), model)


def test_an_adapter_that_is_tied_too(tmp_path: Path) -> None:
    tensors = of_embedding()
    settings: dict[str, Any] = {"target_modules": ["embed_tokens"], "ensure_weight_tying": True}
    got = merged(base(tmp_path / "base", **TIED), adapter(tmp_path / "adapter", tensors, **settings))
    wanted = stored(tmp_path / "base")[f"{EMBED}.weight"] + _change(tensors)
    assert torch.equal(got[f"{EMBED}.weight"], wanted)
    assert torch.equal(got[f"{HEAD}.weight"], wanted)


@pytest.mark.parametrize("ensured", [True, False])
def test_a_copy_that_was_trained_is_tied_to_nothing(tmp_path: Path, ensured: bool) -> None:
    tensors = {f"{EMBED}.weight": random(VOCABULARY, HIDDEN)}
    settings: dict[str, Any] = {
        "modules_to_save": ["embed_tokens"],
        "target_modules": [],
        "ensure_weight_tying": ensured,
    }
    got = merged(base(tmp_path / "base", **TIED), adapter(tmp_path / "adapter", tensors, **settings))
    assert torch.equal(got[f"{EMBED}.weight"], tensors[f"{EMBED}.weight"])
    wanted = tensors if ensured else stored(tmp_path / "base")
    assert torch.equal(got[f"{HEAD}.weight"], wanted[f"{EMBED}.weight"])


def test_another_vocabulary(tmp_path: Path) -> None:
    rows = 260
    names = (f"{EMBED}.weight", f"{HEAD}.weight")
    tensors = {name: random(rows, HIDDEN, seed=seed) for seed, name in enumerate(names)}
    folder = adapter(tmp_path / "adapter", tensors, modules_to_save=["embed_tokens", "lm_head"], target_modules=[])
    program = capture(base(tmp_path / "base"), adapter=folder)
    assert program.metadata["vocabulary_size"] == rows
    model = loaded(tmp_path / "base")
    model.resize_token_embeddings(rows)
    model.load_state_dict(tensors, strict=False)
    assert_same_function(program, model, vocabulary=rows)


def test_another_vocabulary_of_a_tied_model_under_an_adapter(tmp_path: Path) -> None:
    """Resized, then adapted: the base's rows are saved with the adapter."""
    rows = 260
    tensors = {**of_embedding(rows), f"{EMBED}.base_layer.weight": random(rows, HIDDEN)}
    folder = adapter(tmp_path / "adapter", tensors, target_modules=["embed_tokens"])
    got = merged(base(tmp_path / "base", **TIED), folder)
    resized = tensors[f"{EMBED}.base_layer.weight"]
    assert torch.equal(got[f"{EMBED}.weight"], resized + _change(tensors))
    assert torch.equal(got[f"{HEAD}.weight"], resized)


def test_fewer_tokens_in_a_tied_model(tmp_path: Path) -> None:
    """Saved because it was resized, not because it was trained: it stays tied."""
    tensors = {f"{EMBED}.weight": random(250, HIDDEN)}
    got = merged(base(tmp_path / "base", **TIED), adapter(tmp_path / "adapter", tensors, target_modules=[]))
    assert torch.equal(got[f"{EMBED}.weight"], tensors[f"{EMBED}.weight"])
    assert torch.equal(got[f"{HEAD}.weight"], tensors[f"{EMBED}.weight"])


def test_another_vocabulary_without_its_head_is_refused(tmp_path: Path) -> None:
    base(tmp_path / "base")
    folder = adapter(tmp_path / "adapter", {f"{EMBED}.weight": random(260, HIDDEN)}, modules_to_save=["embed_tokens"])
    with pytest.raises(
        WeightError, match=r"has 260 rows.*no 'lm_head\.weight' of as many.*save_embedding_layers=True$"
    ):
        capture(tmp_path / "base", adapter=folder)


@pytest.mark.parametrize("tied", [True, False])
def test_rows_of_single_tokens(tmp_path: Path, tied: bool) -> None:
    rows, places = random(3, HIDDEN), [3, 200, 7]
    folder = adapter(
        tmp_path / "adapter",
        {f"{EMBED}.token_adapter.trainable_tokens_delta": rows},
        target_modules=[],
        trainable_token_indices=places,
    )
    got = merged(base(tmp_path / "base", tie_word_embeddings=tied), folder)
    weights = stored(tmp_path / "base")
    wanted = weights[f"{EMBED}.weight"].clone()
    wanted[places] = rows
    assert torch.equal(got[f"{EMBED}.weight"], wanted)
    assert torch.equal(got[f"{HEAD}.weight"], wanted if tied else weights[f"{HEAD}.weight"])


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([3, 3, 7], "must differ and be below 256"),
        ([3, -1, 7], "must differ and be below 256"),
        ([3, 256, 7], "must differ and be below 256"),
        ([3, 7], r"has rows f32\[3, 64\] for 2 tokens"),
        (None, "names no tokens, but there are rows"),
        ({"lm_head": [1, 2, 3]}, "does not name the tokens of 'model.embed_tokens'"),
    ],
)
def test_tokens_that_do_not_fit(tmp_path: Path, indices: Any, message: str) -> None:
    tensors = {f"{EMBED}.token_adapter.trainable_tokens_delta": random(3, HIDDEN)}
    folder = adapter(tmp_path / "adapter", tensors, target_modules=[], trainable_token_indices=indices)
    with pytest.raises(WeightError, match=message):
        merged(base(tmp_path / "base"), folder)
