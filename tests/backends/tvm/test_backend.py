"""What a machine lacks for the backend `tvm` is said in one line, before any work."""

import importlib.util
import platform
from importlib.machinery import ModuleSpec

import pytest

from graphwright.backends.tvm import backend
from graphwright.compiling.compiler import Options
from graphwright.errors import OptionError, UsageError


def test_a_missing_linker_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CXX", "CC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match=r"there is none: install gcc or clang"):
        Options(backend="tvm").check()


def test_a_missing_tvm_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def without_tvm(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "tvm" else found(name, package)

    monkeypatch.setattr(backend, "find_spec", without_tvm)
    with pytest.raises(UsageError, match=r"pip install -e '\.\[tvm\]'"):
        Options(backend="tvm").check()


def test_another_machine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(UsageError, match="this machine is aarch64: use 'onnx'"):
        Options(backend="tvm").check()


def test_a_dialect_is_for_onnx() -> None:
    with pytest.raises(OptionError, match="is an option of the backend 'onnx', not of 'tvm'"):
        Options(backend="tvm", backend_options={"dialect": "portable"}).check()
