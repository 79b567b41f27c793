"""Flat functions as machine code in a shared library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphwright.backends.tvm.tvm_library import codegen_build, tirx, tvm
from graphwright.ir.errors import UnsupportedError

LINK = ["-Wl,-Bsymbolic"]
"""Calls from step to stage stay within the library, whatever else the process has loaded."""


def build_library(steps: Any, stages: Any, target: Any) -> Any:
    """Steps and the stages that they call, each a module of flat functions, as one library; `target` is LLVM's."""
    library = compiled(steps, target)
    library.import_module(compiled(stages, target))
    return library


def compiled(module: Any, target: Any) -> Any:
    """A module of flat functions as machine code."""
    target = target.with_host(target)
    steps = [
        tirx.transform.BindTarget(target),
        tirx.transform.StmtSimplify(),
        tirx.transform.CommonSubexprElim(),
        tirx.transform.MakePackedAPI(),
        tirx.transform.BF16StorageLegalize(),
        tirx.transform.LowerTVMBuiltin(),
        tirx.transform.LowerIntrin(),
        tirx.transform.ConvertSSA(),  # a kernel's inlined functions may bind one variable in several places
    ]
    with target:
        lowered = tvm.transform.Sequential(steps)(module)
    return codegen_build(lowered, target)


def write_library(library: Any, path: Path) -> None:
    """Links the shared library. Raises `UnsupportedError` where the C++ compiler that does so fails."""
    try:
        library.export_library(str(path), options=LINK)
    except (RuntimeError, OSError, ValueError) as error:
        line = str(error).strip().splitlines()[0]
        raise UnsupportedError(f"'{path.name}' cannot be linked: {line}; CXX or CC may name another compiler") from None
