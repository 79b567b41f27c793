"""Kernels and the C around them as a shared library. TVM is not needed for this."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from graphwright.backends.tvm.region.plan_code import PROFILE
from graphwright.ir.errors import UnsupportedError
from graphwright.runtime.artifact.functions import STEP, WORKSPACE

LINKERS = ("gcc", "clang", "cc", "g++", "clang++", "c++")
"""What compiles C and links, in the order in which it is looked for, unless CC or CXX names another."""
EXPORTED = (STEP, WORKSPACE, PROFILE)
"""Names of a library's functions begin so. All others are its own: calls between them stay within it, whatever else the
process has loaded."""


@dataclass(frozen=True)
class Library:
    """What is linked: kernels as object files, and the C source of all else."""

    kernels: Sequence[bytes]
    plans: str


def find_linker() -> str | None:
    """The command of the compiler that libraries are linked with, None where there is none."""
    named = os.environ.get("CC") or os.environ.get("CXX")
    return named or next((path for path in map(shutil.which, LINKERS) if path), None)


def write_library(library: Library, path: Path) -> None:
    """Links the shared library, which needs no other than libc's.

    Raises `UnsupportedError` where the C compiler that does so fails.
    """
    with TemporaryDirectory() as folder:
        objects = [Path(folder, f"kernel_{n}.o") for n in range(len(library.kernels))]
        for file, content in zip(objects, library.kernels, strict=True):
            file.write_bytes(content)
        try:
            link_c(library.plans, path, objects)
        except (RuntimeError, OSError) as error:
            line = str(error).strip().splitlines()[0]
            raise UnsupportedError(
                f"'{path.name}' cannot be linked: {line}; CC or CXX may name another compiler"
            ) from None


def link_c(source: str, path: Path, objects: Sequence[Path] = ()) -> None:
    """A C source, and object files, as a shared library. Raises `RuntimeError` with what the compiler says."""
    with TemporaryDirectory() as folder:
        code, exported = Path(folder, "source.c"), Path(folder, "exported")
        code.write_text(source, encoding="utf-8")
        exported.write_text(f"{{ global: {' '.join(f'{prefix}*;' for prefix in EXPORTED)} local: *; }};")
        command = [
            *shlex.split(find_linker() or "cc"),
            "-shared",
            "-fPIC",
            "-pthread",
            "-O2",
            "-std=gnu11",
            "-o",
            str(path),
        ]
        command += ["-x", "c", str(code), "-x", "none", *map(str, objects)]
        command += [f"-Wl,--version-script={exported}", "-Wl,--no-undefined", "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip() or f"{command[0]} exits with status {done.returncode}")
