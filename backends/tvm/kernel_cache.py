"""Compiled kernels, kept between compiles: to write and compile one takes a second, and models share most of them.

A kernel's name states its content: how it was made, for which CPU, by which versions. An entry is two files, the record
of its stages and their machine code, each behind a checksum. Whatever is not whole is as if it were not there.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from graphwright import ir
from graphwright.backends.tvm.cpu import Cpu
from graphwright.ir.atomic_file import write_atomically
from graphwright.ir.cache_folder import cache_folder
from graphwright.ir.files import TABLES, read_bytes

RECORD, CODE = ".json", ".o"
"""Ends of file names: the record of a kernel's stages, their machine code."""
MOST_BYTES = 256 << 20
"""What the cache may hold; a kernel has some 10 KiB."""


def folder() -> Path:
    """Where compiled kernels are kept."""
    return cache_folder() / "kernels"


def content_name(label: str, made: str, cpu: Cpu) -> str:
    """A name for a kernel that was made so: a word of C's, of which equal kernels alone have the same."""
    content = f"{made}\n{_origin(cpu)}"
    return f"{label}_{sha256(content.encode()).hexdigest()[:16]}"


@cache
def _origin(cpu: Cpu) -> str:
    """What a kernel's code depends on beside how it was made, as a hash: the CPU, versions, and our own source."""
    digest = sha256(repr((cpu.name, sorted(cpu.features), version("apache-tvm"), version("apache-tvm-ffi"))).encode())
    for root in (Path(__file__).parent, *map(Path, ir.__path__)):
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def kept(name: str, kind: str) -> bytes | None:
    """What is kept of a kernel; None if nothing is, or it is damaged."""
    path = folder() / f"{name}{kind}"
    with suppress(OSError):
        checksum, _, content = read_bytes(path, TABLES).partition(b"\n")
        if checksum == _checksum(content):
            os.utime(path)
            return content
    return None


def keep(name: str, kind: str, content: bytes) -> None:
    """Keep something of a kernel, if there is a place that can be written to."""
    with suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        make_room(folder())
        path = folder() / f"{name}{kind}"
        write_atomically(path, lambda fresh: fresh.write_bytes(_checksum(content) + b"\n" + content))


def _checksum(content: bytes) -> bytes:
    return sha256(content).hexdigest().encode()


@cache
def make_room(kernels: Path) -> None:
    """Remove the files that were used longest ago, until the rest is no more than may be kept; once a process."""
    found = sorted(((path.stat(), path) for path in kernels.glob("*.*")), key=lambda item: item[0].st_mtime)
    total = sum(state.st_size for state, _ in found)
    for state, path in found:
        if total <= MOST_BYTES:
            break
        total -= state.st_size
        path.unlink(missing_ok=True)
