"""Checkpoints whose tensors are parts of the model's weights: experts stored one by one."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from graphwright.frontend import capture
from graphwright.ir import StoredFile, UnsupportedError, WeightError
from graphwright.ir.weights import sources
from tests.frontend.compare import assert_round_trip, assert_same_function
from tests.frontend.test_checkpoint import edit_weights, loaded, saved
from tests.tensors import load_file


def refused(folder: Path, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as failure:
        capture(folder)
    assert "\n" not in str(failure.value)


def moe(folder: Path) -> Path:
    return saved(folder, "mixtral")


def eager(folder: Path) -> Any:
    model = loaded(folder)
    model.set_experts_implementation("eager")
    return model


@pytest.mark.parametrize("name", ["mixtral", "deepseek_v3", "gpt_oss"])
def test_experts_are_merged_lazily(tmp_path: Path, name: str) -> None:
    program = capture(saved(tmp_path, name))
    assert_same_function(program, eager(tmp_path))
    assert_round_trip(program)
    stored = {s.key for w in program.weights.values() for s in sources(w.expression) if isinstance(s, StoredFile)}
    assert stored == set(load_file(tmp_path / "model.safetensors")) - {"model.layers.2.eh_proj.weight"}


def test_experts_are_merged_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    # Eleven experts: by the alphabet 10 stands before 2.
    saved(tmp_path, "mixtral", configuration={"num_local_experts": 11})
    assert_same_function(capture(tmp_path, dtype="f32"), eager(tmp_path))


EXPERT = "model.layers.0.block_sparse_moe.experts.{}.w{}.weight"


def test_a_missing_expert(tmp_path: Path) -> None:
    moe(tmp_path)
    edit_weights(tmp_path, lambda t: t.pop(EXPERT.format(1, 2)))
    refused(tmp_path, WeightError, r"experts\.0\.w2.*do not make '.*down_proj': 3 tensors are not numbered from 0 on")


def test_a_missing_last_expert(tmp_path: Path) -> None:
    moe(tmp_path)
    edit_weights(tmp_path, lambda t: t.pop(EXPERT.format(3, 3)))
    refused(tmp_path, WeightError, r"do not make '.*gate_up_proj': concat: ")


def test_one_expert_too_few(tmp_path: Path) -> None:
    moe(tmp_path)
    edit_weights(tmp_path, lambda t: [t.pop(EXPERT.format(3, w)) for w in (1, 3)])
    refused(tmp_path, WeightError, r"weight '.*gate_up_proj' of '.*' and others is f32\[3, .*asks for \[4, ")


def test_a_missing_half_of_every_expert(tmp_path: Path) -> None:
    moe(tmp_path)
    edit_weights(tmp_path, lambda t: [t.pop(EXPERT.format(e, 3)) for e in range(4)])
    refused(tmp_path, WeightError, r"is merged into '.*gate_up_proj' with tensors '.*w3.*', of which there is none")


def test_an_expert_of_another_shape(tmp_path: Path) -> None:
    moe(tmp_path)
    edit_weights(tmp_path, lambda t: t.update({EXPERT.format(2, 2): torch.ones(64, 7)}))
    refused(tmp_path, WeightError, r"do not make '.*down_proj': concat: ")


def test_a_conversion_that_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loading: Any = import_module("transformers.core_model_loading")

    class Reversed(loading.MergeModulelist):
        """Has the name of no operation of the library."""

    moe(tmp_path)
    source, target = ".experts.*.w2.weight", ".experts.down_proj"
    rename = loading.WeightRenaming(".block_sparse_moe.", ".mlp.")
    mapping = [rename, loading.WeightConverter(source, target, operations=[Reversed(dim=0)])]
    library = import_module("transformers.conversion_mapping")

    def conversions(model: object) -> list[Any]:
        return mapping

    monkeypatch.setattr(library, "get_model_conversion_mapping", conversions)
    refused(tmp_path, UnsupportedError, "w2.*is stored in a layout that transformers would convert by Reversed")
