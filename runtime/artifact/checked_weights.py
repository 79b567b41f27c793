"""Weights whose hash was found right before, remembered between loads: to hash gigabytes takes longer than all else.

A record is an empty file in the user's cache. Its name states the file's real path, device, inode, size, times of
change and the hash that was found, so a file that was written to, replaced, moved or copied since, or another manifest,
is hashed again. Only large weights are remembered; code is hashed at every load.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

CACHE_VARIABLE = "XDG_CACHE_HOME"
LEAST_BYTES = 16 << 20
"""Files below this are hashed at every load: it takes ten milliseconds."""
SETTLED_NS = 2_000_000_000
"""A file that changed so short a time ago might change again within one tick of its file system's clock."""
MOST_RECORDS = 1000


@dataclass(frozen=True)
class State:
    """A file as the file system knows it, at one moment, and whether it may be remembered."""

    text: str
    rememberable: bool

    @classmethod
    def of(cls, path: Path) -> "State":
        """Raises OSError where the file is not there."""
        found = path.stat()
        # Elsewhere than in POSIX the time of change is that of creation, which tells of no writing.
        settled = os.name == "posix" and found.st_ctime_ns + SETTLED_NS < time.time_ns()
        numbers = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
        return cls(repr((str(path.resolve()), *numbers)), settled and found.st_size >= LEAST_BYTES)


def is_remembered(state: State, digest: str) -> bool:
    """Whether a file in this state was found to have the SHA-256 `digest`."""
    if not state.rememberable:
        return False
    with suppress(OSError, RuntimeError):
        record = _record(state, digest)
        if record.is_file():
            os.utime(record)
            return True
    return False


def remember(path: Path, before: State, digest: str) -> None:
    """The file was read and has that hash. Nothing is remembered if it is not as it was `before` it was read."""
    with suppress(OSError, RuntimeError):
        if before.rememberable and State.of(path).text == before.text:
            record = _record(before, digest)
            record.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _make_room(record.parent)
            record.touch(mode=0o600)


def _record(state: State, digest: str) -> Path:
    named = Path(os.environ.get(CACHE_VARIABLE, ""))
    cache = named if named.is_absolute() else Path.home() / ".cache"
    return cache / "graphwright" / "checked-weights" / sha256(f"{state.text}\n{digest}".encode()).hexdigest()


def _make_room(folder: Path) -> None:
    """Remove the records that were used longest ago, but for the newest `MOST_RECORDS` - 1."""
    records = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
    for record in records[: max(0, len(records) - MOST_RECORDS + 1)]:
        record.unlink(missing_ok=True)
