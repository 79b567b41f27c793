"""The few calls of TVM's runtime that we use, typed; all casts are here.

A library needs two things to run: the package `tvm_ffi`, and the runtime's shared library, which lies in the folder of
the package `tvm`, the compiler. That is not imported.
"""

import ctypes
import importlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from graphwright.runtime.aligned import ALIGNMENT
from graphwright.runtime.errors import SessionError
from graphwright.runtime.without_torch import without_torch

RUNTIME_LIBRARY = "lib/libtvm_runtime.so"
BIG_CORES = 1
"""TVM's number for the cores that a pool's threads are meant for. They are not bound to any: see `import_tvm`."""


class Tensor(Protocol):
    """A tensor over memory, which it keeps alive."""

    @property
    def shape(self) -> tuple[int, ...]: ...


class PackedFunction(Protocol):
    release_gil: bool

    def __call__(self, *arguments: Any) -> Any: ...


class Library(Protocol):
    def implements_function(self, name: str) -> bool: ...
    def __getitem__(self, name: str) -> PackedFunction: ...


@dataclass(frozen=True)
class Tvm:
    """`thread_count()` says with how many threads the pool of the calling thread works, that one included. It makes the
    pool if there is none, of `TVM_NUM_THREADS` threads; `use_threads(BIG_CORES, n)` lets it work with `n` of those.
    """

    load_module: Callable[[str], Library]
    from_dlpack: Callable[..., Tensor]
    view_as: Callable[[Tensor, Sequence[int], str, int], Tensor]
    thread_count: Callable[[], int]
    use_threads: Callable[[int, int], None]

    def tensor(self, array: np.ndarray[Any, Any]) -> Tensor:
        """Over the memory of `array`, which is aligned and may be written to."""
        # An empty array has no memory to align.
        return self.from_dlpack(array, require_alignment=ALIGNMENT if array.size else 1, require_contiguous=True)


@cache
def import_tvm() -> Tvm:
    """TVM's runtime, loaded on first use. Raises SessionError when it is not installed."""
    # A thread that is bound leaves the cores that this process may occupy, and all pools are bound to the same cores.
    os.environ.setdefault("TVM_BIND_THREADS", "0")
    try:
        with without_torch():
            tvm_ffi = cast(Any, importlib.import_module("tvm_ffi"))
        ctypes.CDLL(str(_runtime_library()), ctypes.RTLD_GLOBAL)
        functions = [
            cast(PackedFunction, tvm_ffi.get_global_func(f"runtime.{name}"))
            for name in ("TVMTensorCreateView", "NumThreads", "config_threadpool")
        ]
        for function in functions:
            # They take less time than giving the interpreter away and getting it back.
            function.release_gil = False
        return Tvm(tvm_ffi.load_module, tvm_ffi.from_dlpack, *functions)
    except (ImportError, AttributeError, OSError, ValueError) as error:
        raise SessionError(
            f"TVM's runtime cannot be loaded ({error}); in the clone of Graphwright, run `pip install -e '.[tvm]'`"
        ) from None


def _runtime_library() -> Path:
    spec = importlib.util.find_spec("tvm")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("no package tvm")
    return Path(spec.submodule_search_locations[0]) / RUNTIME_LIBRARY
