"""Flat functions as machine code in a shared library."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from graphwright.backends.tvm.tvm_library import codegen_build, compiler, tirx, tvm
from graphwright.ir.errors import UnsupportedError

LINK = ["-Wl,-Bsymbolic"]
"""Calls from step to stage stay within the library, whatever else the process has loaded."""


@dataclass(frozen=True)
class Library:
    """What is linked: step functions as a module of machine code, kernels as object files, the C source of plans."""

    steps: Any
    kernels: Sequence[bytes]
    plans: str


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


def write_library(library: Library, path: Path) -> None:
    """Links the shared library. Raises `UnsupportedError` where the C++ compiler that does so fails."""
    with TemporaryDirectory() as folder:
        source, code = Path(folder, "plans.c"), Path(folder, "plans.o")
        source.write_text(library.plans, encoding="utf-8")
        objects = [Path(folder, f"kernel_{n}.o") for n in range(len(library.kernels))]
        for file, content in zip(objects, library.kernels, strict=True):
            file.write_bytes(content)
        try:
            compile_c(source, code)
            library.steps.export_library(str(path), addons=[str(code), *map(str, objects)], options=LINK)
        except (RuntimeError, OSError, ValueError) as error:
            line = str(error).strip().splitlines()[0]
            raise UnsupportedError(
                f"'{path.name}' cannot be linked: {line}; CXX or CC may name another compiler"
            ) from None


def compile_c(source: Path, code: Path) -> None:
    """A C source as an object file, by the compiler that links too. Raises `RuntimeError` with what that says."""
    command = [compiler() or "cc", "-x", "c", "-std=gnu11", "-O2", "-fPIC", "-c", str(source), "-o", str(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"{command[0]} exits with status {done.returncode}")
