"""Compiled kernels, kept between compiles: to write and compile one takes a second, and models share most of them.

A kernel's name states its content: how it was made, for which CPU, by which versions. An entry is two files, the record
of its stages and their machine code. Whatever is not whole is as if it were not there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import graphwright.backends.tvm
import graphwright.ir
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.region.kernel_record import KernelRecord, from_json, to_json
from graphwright.ir.atomic_file import write_atomically
from graphwright.ir.files import SETTINGS, TABLES, cache_folder, read_bytes, read_text

MOST_BYTES = 256 << 20
"""What the cache may hold; a kernel has some 10 KiB."""


def folder() -> Path:
    """Where compiled kernels are kept."""
    return cache_folder() / "kernels"


@cache
def origin(cpu: Cpu) -> str:
    """What a kernel's code depends on beside how it was made, as a hash."""
    digest = sha256(repr((cpu.name, sorted(cpu.features), version("apache-tvm"), version("apache-tvm-ffi"))).encode())
    for package in (graphwright.backends.tvm, graphwright.ir):
        for root in package.__path__:
            for path in sorted(Path(root).rglob("*.py")):
                digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def content_name(label: str, made: str, cpu: Cpu) -> str:
    """A name for a kernel that was made so: a word of C's, of which equal kernels alone have the same."""
    return f"{label}_{sha256(f'{made}\n{origin(cpu)}'.encode()).hexdigest()[:16]}"


def kept_record(name: str) -> KernelRecord | None:
    """The record of a kernel that is kept; None if it is not, or damaged."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return from_json(read_text(folder() / f"{name}.json", SETTINGS))
    return None


def kept_object(name: str) -> bytes | None:
    """The machine code of a kernel that is kept; None if it is not, or damaged."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(read_text(folder() / f"{name}.sum", SETTINGS))
        code = read_bytes(folder() / f"{name}.o", TABLES)
        if sha256(code).hexdigest() == kept:
            os.utime(folder() / f"{name}.o")
            return code
    return None


def keep_record(name: str, record: KernelRecord) -> None:
    """Keep a record, if there is a place that can be written to."""
    with suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(folder() / f"{name}.json", lambda path: path.write_text(to_json(record), encoding="utf-8"))


def keep_object(name: str, code: bytes) -> None:
    """Keep machine code, if there is a place that can be written to; the oldest make room for it."""
    with suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(folder() / f"{name}.o", lambda path: path.write_bytes(code))
        kept = json.dumps(sha256(code).hexdigest())
        write_atomically(folder() / f"{name}.sum", lambda path: path.write_text(kept, encoding="utf-8"))
        _make_room(folder().glob("*.o"))


def _make_room(objects: Iterable[Path]) -> None:
    """Remove the entries that were used longest ago, until the rest is no more than may be kept."""
    states = sorted(((path.stat(), path) for path in objects), key=lambda item: item[0].st_mtime)
    total = sum(state.st_size for state, _ in states)
    for state, path in states:
        if total <= MOST_BYTES:
            break
        total -= state.st_size
        for suffix in (".o", ".sum", ".json"):
            path.with_suffix(suffix).unlink(missing_ok=True)
