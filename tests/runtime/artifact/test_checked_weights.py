"""Weights are hashed once as long as their file stays what it was: whatever changes it has them hashed again."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from graphwright.runtime import ArtifactError
from graphwright.runtime.artifact import artifact_while_checked, checked_weights, reader
from graphwright.runtime.artifact.hashing import hash_files
from graphwright.runtime.artifact.manifest import FileEntry
from tests.runtime.program import TinyDecoder, write_artifact

WEIGHTS = "weights.safetensors"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files that were hashed."""
    names: list[str] = []

    def watched(paths: Sequence[Path]) -> list[FileEntry]:
        names.extend(path.name for path in paths)
        return hash_files(paths)

    monkeypatch.setattr(reader, "hash_files", watched)
    return names


@pytest.fixture
def folder(tmp_path: Path, tiny: TinyDecoder, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(checked_weights, "LEAST_BYTES", 1)
    monkeypatch.setattr(checked_weights, "SETTLED_NS", -1 << 62)
    return write_artifact(tmp_path / "tiny", tiny, files={WEIGHTS: "weights"})


def load(folder: Path) -> None:
    with artifact_while_checked(folder):
        pass


def test_weights_are_hashed_once_and_code_each_time(folder: Path, hashed: list[str]) -> None:
    load(folder)
    assert sorted(hashed) == ["model.onnx", WEIGHTS]
    hashed.clear()
    load(folder)
    assert hashed == ["model.onnx"]


def overwritten(path: Path) -> None:
    """Other bytes of the same length, and the old time of modification: only the time of change tells."""
    state = path.stat()
    path.write_text("weighty")
    while path.stat().st_ctime_ns == state.st_ctime_ns:  # the clock of file systems has coarse ticks
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_text("weighty")
    other.rename(path)


@pytest.mark.parametrize("change", [overwritten, replaced])
def test_what_changed_is_refused(folder: Path, change: Callable[[Path], None]) -> None:
    load(folder)
    change(folder / WEIGHTS)
    with pytest.raises(ArtifactError, match="is damaged"):
        load(folder)


def test_damaged_weights_are_never_remembered(folder: Path) -> None:
    (folder / WEIGHTS).write_text("weighty")
    for _ in range(2):
        with pytest.raises(ArtifactError, match="is damaged"):
            load(folder)


def test_a_file_that_changed_just_now_is_not_remembered(
    folder: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checked_weights, "SETTLED_NS", 1 << 62)
    load(folder)
    load(folder)
    assert hashed.count(WEIGHTS) == 2


def test_without_a_place_for_records_weights_are_hashed_each_time(
    folder: Path, hashed: list[str], tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("no folder")
    load(folder)
    load(folder)
    assert hashed.count(WEIGHTS) == 2
