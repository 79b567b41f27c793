"""Sizes and hashes of files; several files are hashed in parallel."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from graphwright.runtime.artifact.manifest import FileEntry


def hash_files(paths: Sequence[Path]) -> list[FileEntry]:
    """The entry of each file, in order. Raises OSError when one cannot be read."""
    # hashlib releases the interpreter lock, so threads are enough.
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(_entry, paths))


def _entry(path: Path) -> FileEntry:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(size=file.tell(), sha256=digest)
