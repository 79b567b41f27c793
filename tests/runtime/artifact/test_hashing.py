"""Hashes of files, whole and in parts."""

from hashlib import sha256
from pathlib import Path

import pytest

from graphwright.runtime.artifact import hashing
from graphwright.runtime.artifact.hashing import hash_files
from graphwright.runtime.progress import loading_shown


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 20, 29])
def test_a_large_file_is_hashed_in_parts(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "PART_BYTES", 10)
    monkeypatch.setattr(hashing, "READ_BYTES", 3)
    data = bytes(range(size))
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_bytes(data)
        data += b"more"
    for file, entry in zip(files, hash_files(files), strict=True):
        content = file.read_bytes()
        parts = [sha256(content[start : start + 10]).digest() for start in range(0, len(content), 10)]
        expected = sha256(b"".join(parts)) if len(content) > 10 else sha256(content)
        assert (entry.size, entry.sha256) == (len(content), expected.hexdigest())


def test_progress_is_told_of_what_takes_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "PART_BYTES", 10)
    file = tmp_path / "weights"
    file.write_bytes(b"x" * 25)
    told = list[tuple[str, int, int]]()
    with loading_shown(lambda what, done, total: told.append((what, done, total))):
        hash_files([file])
    assert told == [("checking weights", done, 25) for done in (10, 20, 25)]


def test_no_files_have_no_entries() -> None:
    assert hash_files([]) == []
