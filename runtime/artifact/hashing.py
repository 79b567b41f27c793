"""Hashes of an artifact's files on all cores: a large file in parts, as one thread takes a second for two gigabytes."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from graphwright.runtime.artifact.manifest import FileEntry
from graphwright.runtime.progress import tell

PART_BYTES = 64 << 20
READ_BYTES = 1 << 20


def hash_files(paths: Sequence[Path]) -> list[FileEntry]:
    """The entry of each file, in order. Tells its progress. Raises OSError when one cannot be read."""
    parts = [(path, start) for path in paths for start in range(0, max(1, path.stat().st_size), PART_BYTES)]
    digests: dict[Path, list[bytes]] = {path: [] for path in paths}
    sizes = dict.fromkeys(paths, 0)
    total = sum(path.stat().st_size for path in paths)
    # hashlib releases the interpreter lock, so threads are enough.
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for (path, _), (size, digest) in zip(parts, pool.map(_hash_part, *zip(*parts, strict=True)), strict=True):
            digests[path].append(digest)
            sizes[path] += size
            if total > PART_BYTES:
                tell("checking weights", sum(sizes.values()), total)
    return [FileEntry(size=sizes[path], sha256=_joined(digests[path]).hex()) for path in paths]


def _hash_part(path: Path, start: int) -> tuple[int, bytes]:
    """How many bytes there are from `start` on, at most a part, and their SHA-256."""
    digest, left = hashlib.sha256(), PART_BYTES
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while left and (read := file.read(min(left, READ_BYTES))):
            digest.update(read)
            left -= len(read)
    return PART_BYTES - left, digest.digest()


def _joined(digests: Sequence[bytes]) -> bytes:
    return digests[0] if len(digests) == 1 else hashlib.sha256(b"".join(digests)).digest()
