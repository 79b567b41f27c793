"""Flat functions as machine code in a shared library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphwright.backends.tvm.tvm_library import tirx, tvm
from graphwright.ir.errors import UnsupportedError


def build_library(module: Any, target: Any) -> Any:
    """The module of flat functions, compiled; `target` is LLVM's."""
    target = target.with_host(target)
    steps = [
        tirx.transform.BindTarget(target),
        tirx.transform.StmtSimplify(),
        tirx.transform.MakePackedAPI(),
        tirx.transform.BF16StorageLegalize(),
        tirx.transform.LowerTVMBuiltin(),
        tirx.transform.LowerIntrin(),
        tirx.transform.ConvertSSA(),  # a kernel's inlined functions may bind one variable in several places
    ]
    with target:
        lowered = tvm.transform.Sequential(steps)(module)
    return tvm.tirx.build.__globals__["codegen_build"](lowered, target)


def write_library(library: Any, path: Path) -> None:
    """Links the shared library. Raises `UnsupportedError` where there is no C++ compiler to link with."""
    try:
        library.export_library(str(path))
    except (RuntimeError, OSError, ValueError) as error:
        line = str(error).strip().splitlines()[0]
        raise UnsupportedError(f"'{path.name}' cannot be linked: {line}; install g++ (or clang++)") from None
