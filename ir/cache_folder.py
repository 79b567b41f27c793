"""What can be made again is kept between runs: where, and how, so that nothing is trusted that is not whole."""

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from graphwright.ir.atomic_file import write_atomically
from graphwright.ir.files import TABLES, read_bytes

CACHE_VARIABLE = "XDG_CACHE_HOME"


def cache_folder() -> Path:
    """The folder `graphwright` in XDG_CACHE_HOME, which counts if it is absolute, else in ~/.cache."""
    named = Path(os.environ.get(CACHE_VARIABLE, ""))
    return (named if named.is_absolute() else Path.home() / ".cache") / "graphwright"


@dataclass(frozen=True)
class Cache:
    """Files whose names state what they were made from, in the folder `name` of the cache folder.

    Each is behind a checksum, and appears whole. What is not whole is as if it were not there, and so is everything
    where there is no place that can be written to. Those that were used longest ago make room, once a process, until
    the rest is no more than `most_bytes`.
    """

    name: str
    most_bytes: int

    @property
    def folder(self) -> Path:
        return cache_folder() / self.name

    def kept(self, name: str) -> bytes | None:
        """What is kept under this name; None if nothing is, or it is damaged."""
        path = self.folder / name
        with suppress(OSError):
            checksum, _, content = read_bytes(path, TABLES).partition(b"\n")
            if checksum == _checksum(content):
                os.utime(path)
                return content
        return None

    def keep(self, name: str, content: bytes) -> None:
        """Keep this under the name, if there is a place that can be written to."""
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            make_room(self.folder, self.most_bytes)
            write_atomically(self.folder / name, lambda new: new.write_bytes(_checksum(content) + b"\n" + content))


def _checksum(content: bytes) -> bytes:
    return sha256(content).hexdigest().encode()


@cache
def make_room(folder: Path, most_bytes: int) -> None:
    """Remove the files that were used longest ago, until the rest has no more than that many bytes; once a process."""
    found = sorted(((path.stat(), path) for path in folder.glob("*")), key=lambda item: item[0].st_mtime)
    total = sum(state.st_size for state, _ in found)
    for state, path in found:
        if total <= most_bytes:
            break
        total -= state.st_size
        path.unlink(missing_ok=True)


@cache
def source_digest(*roots: Path) -> str:
    """The Python source in these folders, as a hash."""
    digest = sha256()
    for root in roots:
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()
