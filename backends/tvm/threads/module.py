"""The kernels that a GPU's threads run, by name, each once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from graphwright.backends.tvm.emit.kernel_module import KernelModule
from graphwright.backends.tvm.kernel_cache import CODE, KERNELS
from graphwright.backends.tvm.region.kernel_code import KernelCode, kernel_code
from graphwright.backends.tvm.threads.code import cuda_source, object_code
from graphwright.backends.tvm.threads.library import LIBRARY, THREAD

SOURCE = ".cu"


class ThreadModule(KernelModule):
    """Kernels of which each stage is a launch, and each iteration a thread's."""

    def __init__(self) -> None:
        super().__init__(THREAD, library=LIBRARY)

    def stage_function(self, name: str, stage: str) -> Any:
        """A stage of a kernel in TensorIR, `(item, pointers, sizes)`."""
        return self._code(name).functions[stage]

    def source(self, name: str, stage: str) -> bytes:
        """A stage of a kernel in CUDA C: see `cuda_source`."""
        return self._kept(name, stage, SOURCE, lambda function: cuda_source(stage, function).encode())

    def stage_object(self, name: str, stage: str) -> bytes:
        """A stage of a kernel for this machine: see `object_code`."""
        return self._kept(name, stage, CODE, lambda function: object_code(stage, function, self.cpu))

    def _kept(self, name: str, stage: str, ending: str, make: Callable[[Any], bytes]) -> bytes:
        code = KERNELS.kept(stage + ending)
        if code is None:
            code = make(self.stage_function(name, stage))
            KERNELS.keep(stage + ending, code)
        return code

    def _added(self, label: str, made: str, write: Callable[[], Any]) -> str:
        return super()._added(f"thread_{label}", made, write)

    def _code(self, name: str) -> KernelCode:
        if name not in self._codes:
            self._codes[name] = kernel_code(name, self._write[name](), self.cpu, by_item=True)
        return self._codes[name]


@cache
def thread_module() -> ThreadModule:
    """The module of this process."""
    return ThreadModule()
