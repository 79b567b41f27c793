"""What compiling for the backend `tvm` needs of the machine, looked for before any work is done."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil

from graphwright.errors import UsageError

LINKERS = ("g++", "gcc", "clang++", "clang", "c++", "cc")
"""What TVM links a library with, in the order in which it looks, unless CXX or CC names another."""


def find_linker() -> str | None:
    """The path of the compiler that TVM links with, None where there is none."""
    named = os.environ.get("CXX") or os.environ.get("CC")
    return named or next((path for path in map(shutil.which, LINKERS) if path), None)


def require_tvm() -> None:
    """Raises UsageError on a machine other than x86-64, and where TVM or a compiler to link with is missing."""
    if platform.machine() not in ("x86_64", "AMD64"):
        raise UsageError(f"the backend 'tvm' writes code for x86-64, this machine is {platform.machine()}: use 'onnx'")
    if importlib.util.find_spec("tvm") is None:
        raise UsageError(
            "the backend 'tvm' needs TVM, which is not installed: "
            "in the clone of Graphwright, run `pip install -e '.[tvm]'`"
        )
    if find_linker() is None:
        raise UsageError("the backend 'tvm' links with a C++ compiler, and there is none: install g++ or clang")
