"""What is kept between runs: bounded, whole or nothing, and no error where there is no place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from graphwright.ir.cache_folder import Cache, make_room, source_digest

CACHE = Cache("things", most_bytes=250)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    make_room.cache_clear()
    yield tmp_path / "graphwright" / "things"
    make_room.cache_clear()


def test_what_is_kept_is_found() -> None:
    assert CACHE.kept("a") is None
    CACHE.keep("a", b"one\ntwo")
    CACHE.keep("b", b"")
    assert (CACHE.kept("a"), CACHE.kept("b"), CACHE.kept("c")) == (b"one\ntwo", b"", None)


DAMAGES: list[Callable[[bytes], bytes]] = [
    lambda c: c[:-1],
    lambda c: c + b"1",
    lambda c: b"",
    lambda c: c.replace(b"o", b"0"),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_not_there(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    CACHE.keep("a", b"one")
    (folder / "a").write_bytes(damage((folder / "a").read_bytes()))
    assert CACHE.kept("a") is None
    CACHE.keep("a", b"two")
    assert CACHE.kept("a") == b"two"


def test_a_folder_that_cannot_be_written_to_is_no_error(folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("no folder")
    CACHE.keep("a", b"one")
    assert CACHE.kept("a") is None


def test_the_oldest_make_room(folder: Path) -> None:
    folder.mkdir(parents=True)
    for age, name in enumerate(("newest", "newer", "older", "oldest")):
        (folder / name).write_bytes(bytes(100))
        os.utime(folder / name, (1000 - age, 1000 - age))
    CACHE.keep("fresh", b"code")
    assert sorted(path.name for path in folder.iterdir()) == ["fresh", "newer", "newest"]
    assert CACHE.kept("fresh") == b"code"


def test_writers_and_readers_at_once_see_whole_files() -> None:
    contents = [bytes([65 + i]) * 100_000 for i in range(4)]

    def write_and_read(content: bytes) -> bytes | None:
        CACHE.keep("a", content)
        return CACHE.kept("a")

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(write_and_read, contents * 8))
    assert set(found) <= set(contents)


def test_a_digest_is_of_names_and_text(tmp_path: Path) -> None:
    digests: set[str] = set()
    for name, text in (("a.py", "1"), ("a.py", "2"), ("b.py", "2")):
        folder = tmp_path / f"{name}{text}"
        folder.mkdir()
        (folder / name).write_text(text)
        (folder / "notes.txt").write_text(str(len(digests)))
        digests.add(source_digest(folder))
    assert len(digests) == 3
