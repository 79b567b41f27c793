"""Kernels that come as object files, of stages that TVM wrote: linked when they are loaded, called with addresses."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from graphwright.emulating.interpreter import Request
from graphwright.errors import UsageError
from graphwright.ir.cache_folder import cache_folder

MEMORY = """\
#include <stdlib.h>
/* Scratch of an iteration, as TVM's code asks for it: by pointers that its own loader would set. */
static void *take(int type, int id, unsigned long bytes, int code, int bits) { return malloc(bytes); }
static int give(int type, int id, void *memory) { free(memory); return 0; }
void *(*__TVMBackendAllocWorkspace)(int, int, unsigned long, int, int) = take;
int (*__TVMBackendFreeWorkspace)(int, int, void *) = give;
"""


def c_compiler() -> str:
    """Raises UsageError where there is none."""
    compiler = next((path for path in map(shutil.which, ("cc", "gcc", "clang")) if path), None)
    if compiler is None:
        raise UsageError("the emulator needs a C compiler: install gcc or clang")
    return compiler


def linked(code: bytes) -> Path:
    """A shared library of an object file, linked once. Raises UsageError for an object file of another machine's."""
    library = cache_folder() / "emulator" / f"{sha256(MEMORY.encode() + code).hexdigest()[:24]}.so"
    if library.exists():
        return library
    library.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        stage, memory = Path(folder, "stage.o"), Path(folder, "memory.c")
        stage.write_bytes(code)
        memory.write_text(MEMORY, encoding="utf-8")
        partial = library.with_suffix(f".{os.getpid()}")
        command = [c_compiler(), "-shared", "-fPIC", "-O1", "-o", str(partial), str(stage), str(memory), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UsageError(f"a kernel for the emulator is not of this machine's code: {done.stderr.splitlines()[0]}")
        partial.replace(library)
    return library


@cache
def _function(library: str, symbol: str) -> ctypes._NamedFuncPointer:  # pyright: ignore[reportPrivateUsage]
    return getattr(ctypes.CDLL(library), symbol)


def call(library: str, symbol: str, base: int, request: Request) -> None:
    """Runs the blocks of a stage. Of a pointer the argument is its distance from the base."""
    given: list[object] = [ctypes.c_int32(request.programs)]
    for argument in request.arguments:
        if argument.kind.startswith("*"):
            given.append(ctypes.c_void_p(base + argument.value))
        else:
            given.append((ctypes.c_int64 if argument.kind == "i64" else ctypes.c_int32)(argument.value))
    status = _function(library, symbol)(*given)
    if status:
        raise RuntimeError(f"{symbol} gives {status}")
