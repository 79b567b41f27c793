"""Shared libraries of compiled steps, called in C: see `artifact.functions` for what they export."""

import ctypes
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from graphwright.runtime.aligned import ALIGNMENT
from graphwright.runtime.artifact import FunctionSpec
from graphwright.runtime.artifact.functions import STEP, WORKSPACE
from graphwright.runtime.element_types import ElementTypeName
from graphwright.runtime.engines.shared_library import check_segments
from graphwright.runtime.errors import SessionError

DOES_NOT_FIT = 1
"""What a step gives that has not run, because what it was given is not what it takes; other than 0, it failed."""
_CODES: Mapping[ElementTypeName, int] = {
    **dict.fromkeys(("int8", "int16", "int32", "int64"), 0),
    "uint8": 1,
    **dict.fromkeys(("float16", "float32", "float64"), 2),
    "bfloat16": 4,
    "bool": 6,
}
"""DLPack's codes of kinds of numbers."""


class Tensor(ctypes.Structure):
    """A dense array as C sees it, which keeps neither its memory nor its shape alive."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("rank", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
    ]


class NativeValue:
    """An array, and how C sees it. Raises ValueError for memory that C does not take."""

    def __init__(self, array: npt.NDArray[Any], dtype: ElementTypeName) -> None:
        if not array.flags.c_contiguous or (array.size and array.ctypes.data % ALIGNMENT):
            raise ValueError(f"memory that is not dense, or not aligned to {ALIGNMENT} bytes")
        self.array = array
        self._shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        shape = ctypes.cast(self._shape, ctypes.POINTER(ctypes.c_int64))
        self.tensor = Tensor(array.ctypes.data, shape, array.ndim, _CODES[dtype], 8 * array.itemsize)

    def numpy(self) -> npt.NDArray[Any]:
        return self.array

    def update_inplace(self, data: Any) -> None:
        self.array[...] = data.array if isinstance(data, NativeValue) else data


@dataclass(frozen=True)
class CompiledFunction:
    """`run(tensors, threads)` gives 0 where it has run; `workspace(sizes)` tells bytes."""

    spec: FunctionSpec
    run: Any
    workspace: Any


def load_functions(path: Path, functions: Sequence[FunctionSpec]) -> list[CompiledFunction]:
    """The functions of a library. Raises SessionError for a file that is none, or lacks one."""
    check_segments(path)
    try:
        library = ctypes.CDLL(_name_of_its_own(path))
    except OSError as error:
        raise SessionError(f"{path} cannot be loaded: {error}") from None
    return [_function(library, spec, path) for spec in functions]


def _function(library: ctypes.CDLL, spec: FunctionSpec, path: Path) -> CompiledFunction:
    try:
        run, workspace = (library[prefix + spec.name] for prefix in (STEP, WORKSPACE))
    except AttributeError:
        raise SessionError(
            f"{path} has no function {spec.name}, which the manifest names; compile the model again"
        ) from None
    run.argtypes, run.restype = [ctypes.c_void_p, ctypes.c_int32], ctypes.c_int32
    workspace.argtypes, workspace.restype = [ctypes.POINTER(ctypes.c_int64)], ctypes.c_int64
    return CompiledFunction(spec, run, workspace)


_SEEN: dict[Path, list[tuple[int, int]]] = {}
"""Of each path the files that were loaded by it. They stay loaded, and so none of these numbers is given away again."""


def _name_of_its_own(path: Path) -> str:
    """A name of the file that no other file was loaded by: for a known name the system gives what it has loaded."""
    path = path.resolve()
    status = os.stat(path)
    files = _SEEN.setdefault(path, [])
    file = status.st_dev, status.st_ino
    if file not in files:
        files.append(file)
    return os.path.join(path.parent, *["."] * files.index(file), path.name)
