"""CUDA C as machine code, by the compiler that is a library (NVRTC): no toolkit, no `nvcc`.

The library comes in the package `nvidia-cuda-nvrtc`, the headers of half precision in Triton's.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from graphwright.ir.errors import UnsupportedError

PACKAGES = "in the clone of Graphwright, run `pip install -e '.[cuda-compile]'`"


def cubin_of(source: bytes, name: str, number: int) -> bytes:
    """The machine code of a source for compute capability `number`, 90 for 9.0.

    Raises `UnsupportedError` with the first line of what the compiler says.
    """
    compiler, headers = _compiler(), _headers()
    program = _checked(compiler, compiler.nvrtcCreateProgram(source, f"{name}.cu".encode(), 0, [], []))
    # Nothing that a few architectures alone have: their names have a letter behind the number.
    options = [f"--gpu-architecture=sm_{number}", "-default-device", f"--include-path={headers}"]
    try:
        (code,) = compiler.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
        if int(code):
            raise UnsupportedError(f"{name} is no CUDA C that NVRTC compiles: {_first_line(compiler, program)}")
        cubin = b" " * _checked(compiler, compiler.nvrtcGetCUBINSize(program))
        _checked(compiler, compiler.nvrtcGetCUBIN(program, cubin))
    finally:
        compiler.nvrtcDestroyProgram(program)
    return cubin


def _first_line(compiler: Any, program: Any) -> str:
    log = b" " * _checked(compiler, compiler.nvrtcGetProgramLogSize(program))
    _checked(compiler, compiler.nvrtcGetProgramLog(program, log))
    lines = [line for line in log.decode(errors="replace").rstrip("\0").splitlines() if line.strip()]
    return next((line for line in lines if "error" in line), lines[0] if lines else "no more")


def _checked(compiler: Any, result: tuple[Any, ...]) -> Any:
    code, *values = result
    if int(code):
        raise UnsupportedError(f"NVRTC says {compiler.nvrtcGetErrorString(code)[1].decode()}")
    return values[0] if values else None


@cache
def _compiler() -> Any:
    library = next(_found("*/lib/libnvrtc.so.*"), None)
    if library is not None:
        # Where it lies in a package that is not in the environment's own folder, nothing else would find it.
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    try:
        compiler = importlib.import_module("cuda.bindings.nvrtc")
        compiler.nvrtcVersion()
    except (ImportError, RuntimeError):
        raise UnsupportedError(f"the library NVRTC is not installed: {PACKAGES}") from None
    return compiler


@cache
def _headers() -> Path:
    triton = find_spec("triton")
    if triton is None or triton.origin is None:
        raise UnsupportedError(f"Triton, which has the headers of CUDA C, is not installed: {PACKAGES}")
    return Path(triton.origin).parent / "backends/nvidia/include"


def _found(pattern: str) -> Iterator[Path]:
    """Files of NVIDIA's packages."""
    spec = find_spec("nvidia")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        yield from sorted(Path(folder).glob(pattern))
