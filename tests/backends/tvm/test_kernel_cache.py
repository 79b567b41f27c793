"""Kernels that are kept: not made twice, not mistaken for others, and not trusted where they are damaged."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from graphwright.backends.tvm.cpu import GENERIC, Cpu
from graphwright.backends.tvm.emit import KernelModule, kernel_module
from graphwright.backends.tvm.kernel_cache import CODE, RECORD, content_name
from graphwright.backends.tvm.kernels.glu import glu
from graphwright.ir.cache_folder import make_room
from tests.backends.tvm.kernels.standalone import settings_for

PARAMETERS: dict[str, Any] = {
    "settings": settings_for("glu", GENERIC),
    "tokens": None,
    "size": 16,
    "kind": "silu",
}


@pytest.fixture(autouse=True)
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    make_room.cache_clear()
    yield tmp_path / "graphwright" / "kernels"
    make_room.cache_clear()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of kernels whose code is made."""
    names: list[str] = []
    make = kernel_module.kernel_code

    def watched(name: str, function: Any, cpu: Cpu) -> Any:
        names.append(name)
        return make(name, function, cpu)

    monkeypatch.setattr(kernel_module, "kernel_code", watched)
    return names


def compiled() -> tuple[Any, bytes]:
    """The record and the code of a kernel, as another compile has them."""
    module = KernelModule(GENERIC)
    name = module.kernel(glu, PARAMETERS)
    return module.record(name), module.object(name)


def test_a_kernel_is_made_once(made: list[str], kernels: Path) -> None:
    first = compiled()
    assert len(made) == 1
    assert compiled() == first
    assert len(made) == 1
    assert sorted(path.suffix for path in kernels.iterdir()) == [RECORD, CODE]


def test_a_kernel_that_is_compiled_in_the_background_is_the_same(made: list[str], kernels: Path) -> None:
    module = KernelModule(GENERIC, ahead=True)
    name = module.kernel(glu, PARAMETERS)
    found = module.record(name), module.object(name)
    assert len(made) == 1
    assert compiled() == found
    assert len(made) == 1
    module.close()


def one_cpu(process: int) -> set[int]:
    return {0}


def test_what_was_not_begun_is_not_compiled_once_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, goes_on = threading.Event(), threading.Event()
    names: list[str] = []

    def slowly(name: str, code: Any) -> bytes:
        names.append(name)
        begun.set()
        assert goes_on.wait(60)
        return b""

    monkeypatch.setattr(kernel_module, "_compiled", slowly)
    monkeypatch.setattr(kernel_module.os, "sched_getaffinity", one_cpu)
    module = KernelModule(GENERIC, ahead=True)
    for size in (16, 32):
        module.record(module.kernel(glu, {**PARAMETERS, "size": size}))
    assert begun.wait(60)
    module.close()
    goes_on.set()
    assert names == module.names[:1]


Damage = Callable[[bytes], bytes]
DAMAGES: list[Damage] = [lambda content: content[:-1], lambda content: b"", lambda content: content + b"1"]


@pytest.mark.parametrize("kind", [RECORD, CODE])
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_made_anew(made: list[str], kernels: Path, kind: str, damage: Damage) -> None:
    first = compiled()
    (path,) = kernels.glob(f"*{kind}")
    path.write_bytes(damage(path.read_bytes()))
    assert compiled() == first
    assert len(made) == 2
    assert compiled() == first
    assert len(made) == 2


def test_a_changed_byte_is_damage(made: list[str], kernels: Path) -> None:
    first = compiled()
    (path,) = kernels.glob(f"*{RECORD}")
    path.write_bytes(path.read_bytes().replace(b"true", b"null", 1))
    assert compiled() == first
    assert len(made) == 2


def test_a_folder_that_cannot_be_written_to_is_no_error(made: list[str], kernels: Path) -> None:
    kernels.parent.mkdir(parents=True)
    kernels.write_text("no folder")
    first = compiled()
    assert compiled() == first
    assert len(made) == 2


def test_names_tell_kernels_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    module = KernelModule(GENERIC)
    names = {module.kernel(glu, PARAMETERS), module.kernel(glu, PARAMETERS | {"kind": "gelu"})}
    wide = Cpu(GENERIC.name, frozenset({"avx2", "fma"}))
    names |= {KernelModule(wide).kernel(glu, PARAMETERS), content_name("glu", "something else", GENERIC)}
    assert len(names) == 4
    assert all(name.isidentifier() for name in names)
    assert module.kernel(glu, dict(reversed(PARAMETERS.items()))) in names
