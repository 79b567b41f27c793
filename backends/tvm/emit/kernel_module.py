"""The kernels that graphs call, by name, each once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

from graphwright.backends.kernel_library import KernelLibrary, Settings
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernel_cache import CODE, KERNELS, RECORD, content_name
from graphwright.backends.tvm.library import library_for
from graphwright.backends.tvm.region.kernel_code import KernelCode, kernel_code
from graphwright.backends.tvm.region.kernel_record import KernelRecord, from_json, to_json
from graphwright.backends.tvm.region.tail import scheduled_loops
from graphwright.backends.tvm.tvm_library import tvm


class KernelModule:
    """Kernels for a CPU, with what is `chosen` for those of the library, by name, in place of defaults.

    One that is kept from an earlier compile is neither written nor compiled again. With `ahead`, one that is written is
    compiled in the background from then on: TVM and LLVM let other threads run, and planning goes on beside them.
    """

    def __init__(
        self,
        cpu: Cpu,
        chosen: Mapping[str, Settings] = MappingProxyType({}),
        library: KernelLibrary | None = None,
        *,
        ahead: bool = False,
    ) -> None:
        self.cpu, self.library, self.chosen = cpu, library or library_for(cpu), chosen
        self.names: list[str] = []
        self._write: dict[str, Callable[[], Any]] = {}
        self._codes: dict[str, KernelCode] = {}
        self._objects: dict[str, Future[bytes]] = {}
        self._compilers = (
            ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="kernel") if ahead else None
        )
        self._records: dict[str, KernelRecord] = {}

    def kernel(self, make: Callable[..., Any], parameters: Mapping[str, Any]) -> str:
        """The name of the kernel that `make(cpu, **parameters)` writes."""
        made = f"{make.__module__}.{make.__name__} {sorted(parameters.items())}"
        return self._added(make.__name__, made, lambda: make(self.cpu, **parameters))

    def loops(self, label: str, function: Any, settings: Settings) -> str:
        """The name of a function that TVM has made of a tensor expression, once its loops are shared by threads."""
        made = f"{tvm.ir.save_json(function)} {dict(settings)}"
        return self._added(label, made, lambda: scheduled_loops(function, settings))

    def record(self, name: str) -> KernelRecord:
        """What a plan needs to know of a kernel. Raises `UnsupportedError` for one that cannot be split into stages."""
        if name not in self._records:
            text = KERNELS.kept(name + RECORD)
            if text is None:
                text = to_json(self._code(name).record).encode()
                KERNELS.keep(name + RECORD, text)
            self._records[name] = from_json(text.decode())
        return self._records[name]

    def object(self, name: str) -> bytes:
        """A kernel's machine code: an object file, whose symbols are the functions of its stages."""
        if name in self._objects:
            return self._objects[name].result()
        code = KERNELS.kept(name + CODE)
        if code is not None:
            return code
        made = self._code(name)
        return self._objects[name].result() if name in self._objects else _compiled(name, made)

    def close(self) -> None:
        """Nothing is compiled in the background from now on; what is compiled at the moment ends by itself."""
        if self._compilers is not None:
            self._compilers.shutdown(wait=False, cancel_futures=True)
            self._compilers = None

    def _added(self, label: str, made: str, write: Callable[[], Any]) -> str:
        name = content_name(label.replace(".", "_"), made, self.cpu)
        if name not in self._write:
            self._write[name] = write
            self.names.append(name)
        return name

    def _code(self, name: str) -> KernelCode:
        if name not in self._codes:
            self._codes[name] = kernel_code(name, self._write[name](), self.cpu)
            if self._compilers is not None:
                self._objects[name] = self._compilers.submit(_compiled, name, self._codes[name])
        return self._codes[name]


def _compiled(name: str, code: KernelCode) -> bytes:
    """The kernel's machine code, which is kept from now on."""
    compiled = code.compile()
    KERNELS.keep(name + CODE, compiled)
    return compiled
