"""Kernels and the C around them as a shared library. TVM is not needed for this."""

import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from graphwright.backends.tvm.region.plan_code import PROFILE
from graphwright.ir.errors import UnsupportedError
from graphwright.runtime.artifact.functions import STEP, WORKSPACE

X86_64 = ("x86_64", "AMD64")
"""What Python calls machines of that kind."""
BASELINE = "-march=x86-64"
"""The C of a library runs on all processors of x86-64, whatever the compiler takes for its default."""
LINKERS = ("gcc", "clang", "cc", "g++", "clang++", "c++")
"""What compiles C and links, in the order in which it is looked for, unless CC or CXX names another."""
CROSS_COMPILER = "ziglang"
"""The Python package of a C compiler that has the C libraries of other kinds of machines with it."""
EXPORTED = (STEP, WORKSPACE, PROFILE)
"""Names of a library's functions begin so. All others are its own: calls between them stay within it, whatever else the
process has loaded."""


@dataclass(frozen=True)
class Library:
    """What is linked: kernels as object files, and the C source of all else.

    `triple` is the kind of machine that they are for, as LLVM calls it, where it is another than this one.
    """

    kernels: Sequence[bytes]
    plans: str
    triple: str = ""


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
            link_c(library.plans, path, objects, library.triple)
        except (RuntimeError, OSError) as error:
            line = str(error).strip().splitlines()[0]
            advice = "" if library.triple else "; CC or CXX may name another compiler"
            raise UnsupportedError(f"'{path.name}' cannot be linked: {line}{advice}") from None


def missing_linker(triple: str) -> str | None:
    """What is missing to link for another kind of machine, in a line that says what to do; None if nothing."""
    if not triple or find_spec(CROSS_COMPILER) is not None:
        return None
    return f"Zig links for {triple}, and is not installed: pip install {CROSS_COMPILER}"


def compiler(triple: str = "") -> list[str]:
    """The command that compiles C and links for a kind of machine, this one by default."""
    if triple:
        return [sys.executable, "-m", CROSS_COMPILER, "cc", "-target", triple]
    baseline = [BASELINE] if platform.machine() in X86_64 else []
    return [*shlex.split(find_linker() or "cc"), *baseline]


def link_c(source: str, path: Path, objects: Sequence[Path] = (), triple: str = "") -> None:
    """A C source, and object files, as a shared library. Raises `RuntimeError` with what the compiler says."""
    with TemporaryDirectory() as folder:
        code, exported = Path(folder, "source.c"), Path(folder, "exported")
        code.write_text(source, encoding="utf-8")
        exported.write_text(f"{{ global: {' '.join(f'{prefix}*;' for prefix in EXPORTED)} local: *; }};")
        command = [
            *compiler(triple),
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
