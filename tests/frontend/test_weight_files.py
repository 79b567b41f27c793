"""Which files are the model's, told by the values that transformers loads from the same folder."""

from __future__ import annotations

import json
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from graphwright.frontend import CheckpointError, capture
from graphwright.frontend.weight_files import PRECEDENCE, stored_weights
from graphwright.ir import Notice, StoredFile, UserError, WeightError
from tests.frontend.compare import assert_same_function
from tests.frontend.test_checkpoint import edit_config, loaded, saved
from tests.tensors import load_file, save_file

NORM = "model.norm.weight"
SINGLE, SHARDED, PICKLED, PICKLED_SHARDED = PRECEDENCE
Tensors = dict[str, torch.Tensor]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return saved(tmp_path)


def tensors_of(folder: Path) -> Tensors:
    return {name: value.clone() for name, value in load_file(folder / SINGLE).items()}


def form(folder: Path, name: str, mark: float, tensors: Tensors) -> None:
    """The model in one of the forms, told from others by the values of its last norm."""
    tensors = tensors | {NORM: torch.full_like(tensors[NORM], mark)}
    if name == SINGLE:
        save_file(tensors, folder / name, metadata={"format": "pt"})
    elif name == PICKLED:
        torch.save(tensors, folder / name)
    else:
        suffix = ".safetensors" if name == SHARDED else ".bin"
        halves = [dict(list(tensors.items())[half::2]) for half in (0, 1)]
        for half, content in enumerate(halves):
            shard = str(folder / f"half-{half}{suffix}")
            save_file(content, shard, metadata={"format": "pt"}) if name == SHARDED else torch.save(content, shard)
        places = {key: f"half-{half}{suffix}" for half, content in enumerate(halves) for key in content}
        (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": places}))


def mark_of(stored: dict[str, StoredFile]) -> float:
    return float(stored[NORM].evaluate()[0])


@pytest.mark.parametrize("first", range(4))
def test_of_several_models_the_one_that_transformers_takes(folder: Path, first: int) -> None:
    tensors = tensors_of(folder)
    (folder / SINGLE).unlink()
    for position in range(first, 4):
        form(folder, PRECEDENCE[position], position + 1.0, tensors)
    others = ", ".join(PRECEDENCE[first + 1 :])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", Notice)
        stored = stored_weights(folder, {})
    told = [str(w.message) for w in caught if w.category is Notice]
    verb = "is" if first == 2 else "are"
    expected = f"{folder}: the weights are {PRECEDENCE[first]}, as transformers takes them; {others} {verb} not read"
    assert told == ([expected] if others else [])
    assert set(stored) == set(tensors)
    assert mark_of(stored) == first + 1
    assert float(loaded(folder).get_parameter(NORM)[0]) == first + 1


def test_the_configuration_may_name_a_file(folder: Path) -> None:
    form(folder, SINGLE, 5.0, tensors_of(folder))
    (folder / SINGLE).rename(folder / "other.safetensors")
    saved(folder)
    edit_config(folder, transformers_weights="other.safetensors")
    with pytest.warns(Notice, match=r"the weights are other\.safetensors.*; model\.safetensors is not read"):
        stored = stored_weights(folder, {"transformers_weights": "other.safetensors"})
    assert mark_of(stored) == float(loaded(folder).get_parameter(NORM)[0]) == 5
    for name, message in [("../x.safetensors", "outside the directory"), ("x.bin", "expected a safetensors file")]:
        with pytest.raises(CheckpointError, match=message):
            stored_weights(folder, {"transformers_weights": name})


def test_an_index_may_promise_what_no_shard_holds(folder: Path) -> None:
    """A tied head, say; and the shards may hold what it does not name."""
    tensors = tensors_of(folder)
    (folder / SINGLE).unlink()
    form(folder, SHARDED, 2.0, tensors)
    index = json.loads((folder / SHARDED).read_text())
    index["weight_map"]["tied.weight"] = "half-0.safetensors"
    del index["weight_map"][NORM]
    (folder / SHARDED).write_text(json.dumps(index))
    stored = stored_weights(folder, {})
    assert set(stored) == set(tensors)
    assert mark_of(stored) == float(loaded(folder).get_parameter(NORM)[0]) == 2


def test_of_a_tensor_in_two_shards_the_last_counts(folder: Path) -> None:
    tensors = tensors_of(folder)
    (folder / SINGLE).unlink()
    form(folder, SHARDED, 2.0, tensors)
    for half, mark in enumerate((3.0, 4.0)):
        shard = folder / f"half-{half}.safetensors"
        content = {**load_file(shard), NORM: torch.full((64,), mark)}
        save_file({k: v.clone() for k, v in content.items()}, shard, metadata={"format": "pt"})
    with pytest.warns(Notice, match=r"1 tensors are in several shards \(model\.norm\.weight.*half-1\.safetensors"):
        stored = stored_weights(folder, {})
    assert mark_of(stored) == float(loaded(folder).get_parameter(NORM)[0]) == 4


def _refused(folder: Path, kind: type[UserError], message: str) -> None:
    with pytest.raises(kind, match=message) as failure:
        stored_weights(folder, {})
    assert "\n" not in str(failure.value)


def test_no_weights(folder: Path) -> None:
    (folder / SINGLE).rename(folder / "model.fp16.safetensors")
    _refused(folder, CheckpointError, r"none of model\.safetensors, .* is there; there is model\.fp16\.safetensors")


def test_a_missing_shard(folder: Path) -> None:
    form(folder, SHARDED, 1.0, tensors_of(folder))
    (folder / SINGLE).unlink()
    (folder / "half-1.safetensors").unlink()
    _refused(folder, WeightError, r"half-1\.safetensors: the file is missing")


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "..", ""])
@pytest.mark.parametrize("index", [SHARDED, PICKLED_SHARDED])
def test_shard_outside_the_directory(tmp_path: Path, name: str, index: str) -> None:
    (tmp_path / index).write_text(json.dumps({"weight_map": {NORM: name}}))
    _refused(tmp_path, CheckpointError, r"lies outside the directory")


@pytest.mark.parametrize("content", ["{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "[" * 100_000])
def test_bad_index(tmp_path: Path, content: str) -> None:
    (tmp_path / SHARDED).write_text(content)
    _refused(tmp_path, CheckpointError, r"index\.json: ('weight_map' is not a table|not readable as JSON)")


# -- .bin


def test_a_pickled_checkpoint_stays_in_its_file(folder: Path) -> None:
    form(folder, PICKLED, 2.0, tensors_of(folder))
    (folder / SINGLE).unlink()
    program = capture(folder)
    assert_same_function(program, loaded(folder))
    weight = program.weights[NORM].expression
    assert isinstance(weight, StoredFile)
    # Of the zip format, nothing but what is read is in memory: the array is a view of the mapped file.
    whole = (folder / PICKLED).stat().st_size
    assert weight.evaluate().untyped_storage().nbytes() <= whole
    maps = Path("/proc/self/maps").read_text()
    assert str(folder / PICKLED) in maps


def test_the_older_format_and_views(tmp_path: Path) -> None:
    table = torch.arange(12.0).reshape(3, 4)
    torch.save({"a": table, "b": table.T, "p": torch.nn.Parameter(table)}, tmp_path / PICKLED)
    stored = stored_weights(tmp_path, {})
    assert torch.equal(stored["b"].evaluate(), table.T)
    assert stored["b"].evaluate().is_contiguous()
    torch.save({"a": table}, tmp_path / PICKLED, _use_new_zipfile_serialization=False)
    assert torch.equal(stored_weights(tmp_path, {})["a"].evaluate(), table)


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran",)


Write = Callable[[Path], object]
REFUSED: list[tuple[Write, str]] = [
    (lambda file: torch.save({"w": torch.ones(2), "x": Code()}, file), "to read it would run code .*mkdir"),
    (lambda file: torch.save(torch.nn.Linear(2, 2), file), "to read it would run code .*Linear"),
    (lambda file: file.write_bytes(pickle.dumps({"x": Code()})), "would run code|not a file of torch.save"),
    (lambda file: file.write_bytes(b""), "not a file of torch.save, or damaged"),
    (lambda file: file.write_bytes(b"PK\x03\x04" + bytes(100)), "not a file of torch.save, or damaged"),
    (lambda file: torch.save([torch.ones(2)], file), "it holds a list, expected tensors by their names"),
    (lambda file: torch.save({"epoch": 3}, file), "'epoch' is not a tensor but a int; save the model's state_dict"),
    (lambda file: torch.save({"state": {"w": torch.ones(1)}}, file), "'state' is not a tensor but a dict"),
    (lambda file: torch.save({3: torch.ones(2)}, file), "a tensor is named 3, expected text"),
    (lambda file: torch.save({"w": torch.ones(2).to_sparse()}, file), "tensor 'w' is not a plain dense one"),
    (lambda file: torch.save({"w": torch.ones(2, dtype=torch.complex64)}, file), "tensor 'w': torch.complex64"),
]


@pytest.mark.parametrize(("write", "message"), REFUSED)
def test_pickled_files_that_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / PICKLED)
    _refused(tmp_path, WeightError, rf"pytorch_model\.bin: .*({message})")
    assert not (tmp_path / "ran").exists()


def test_a_pickled_file_cut_short_anywhere(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(100)}, tmp_path / PICKLED)
    whole = (tmp_path / PICKLED).read_bytes()
    for length in range(0, len(whole), 97):
        (tmp_path / PICKLED).write_bytes(whole[:length])
        _refused(tmp_path, WeightError, "not a file of torch.save, or damaged")


def test_compressed_tensors_are_not_taken_as_they_lie(tmp_path: Path) -> None:
    import zipfile

    torch.save({"w": torch.zeros(1000)}, tmp_path / "plain")
    with zipfile.ZipFile(tmp_path / "plain") as plain, zipfile.ZipFile(tmp_path / PICKLED, "w") as packed:
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry.filename), zipfile.ZIP_DEFLATED)
    _refused(tmp_path, WeightError, "its tensors are compressed")
