"""Finished weights in a folder: taken where all they depend on is the same, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from graphwright.ir import PassError, StoredArray, StoredFile, tensor
from graphwright.passes.calibration.resume import FinishedWeights, fingerprint
from tests.passes.calibration.models import tokens, wide_blocks
from tests.tensors import save_file

TYPES = {"codes": tensor("u8", 2, 3), "scales": tensor("f32", 2, 1)}
ARRAYS = {"codes": torch.arange(6, dtype=torch.uint8).reshape(2, 3), "scales": torch.rand(2, 1)}


def test_what_was_kept_is_found(tmp_path: Path) -> None:
    kept = FinishedWeights(str(tmp_path / "new"), "abc").keep("a/b", TYPES, ARRAYS)
    found = FinishedWeights(str(tmp_path / "new"), "abc").find("a/b", TYPES)
    assert found == kept
    assert found is not None
    for name, part in found.items():
        assert isinstance(part, StoredFile)
        assert torch.equal(part.evaluate(), ARRAYS[name])
    assert [path.suffix for path in (tmp_path / "new").iterdir()] == [".safetensors"]


def test_what_does_not_match_is_not_taken(tmp_path: Path) -> None:
    finished = FinishedWeights(str(tmp_path), "abc")
    finished.keep("w", TYPES, ARRAYS)
    assert FinishedWeights(str(tmp_path), "abd").find("w", TYPES) is None
    assert finished.find("v", TYPES) is None
    assert finished.find("w", {**TYPES, "scales": tensor("f16", 2, 1)}) is None
    (path,) = tmp_path.iterdir()
    path.rename(finished._path(tmp_path, "v"))
    assert finished.find("v", TYPES) is None


def test_a_damaged_file_counts_as_not_finished_and_is_replaced(tmp_path: Path) -> None:
    finished = FinishedWeights(str(tmp_path), "abc")
    finished.keep("w", TYPES, ARRAYS)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert finished.find("w", TYPES) is None
    finished.keep("w", TYPES, ARRAYS)
    assert finished.find("w", TYPES) is not None


def test_without_a_folder_arrays_stay_in_memory() -> None:
    finished = FinishedWeights("", "")
    assert all(isinstance(part, StoredArray) for part in finished.keep("w", TYPES, ARRAYS).values())
    assert finished.find("w", TYPES) is None


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PassError, match=r"file: finished weights cannot be kept there \(File exists\)"):
        FinishedWeights(str(tmp_path / "file"), "abc")


def test_the_fingerprint_is_of_all_that_results_depend_on(tmp_path: Path) -> None:
    program, rows = wide_blocks(2, 8, 24), tokens(4, 8)
    same = fingerprint(program, rows, "m")
    assert fingerprint(wide_blocks(2, 8, 24), rows.clone(), "m") == same
    assert fingerprint(program, rows, "n") != same
    assert fingerprint(program, tokens(4, 8, seed=1), "m") != same
    assert fingerprint(wide_blocks(2, 8, 24, seed=1), rows, "m") != same
    # A weight counts by its value, not by where it lies.
    weight = program.weights["down.1"]
    value = weight.evaluate()
    save_file({"x": value}, tmp_path / "a.safetensors")
    weight.expression = StoredFile(str(tmp_path / "a.safetensors"), "x", tensor("f32", *value.shape))
    assert fingerprint(program, rows, "m") == same
    weight.expression = StoredArray.of(value + torch.eye(8, 24) * 1e-6)
    assert fingerprint(program, rows, "m") != same
