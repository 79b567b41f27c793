"""The kernels of a library: functions in TensorIR by name, each once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.tvm_library import tvm, tvm_ffi

KERNEL = "graphwright.kernel"
"""An attribute of functions that are kernels of ours, whose loops stay as they are written."""


@cache
def _written(make: Callable[..., Any], cpu: Cpu, parameters: tuple[tuple[str, Any], ...]) -> Any:
    """A kernel of ours. To write one takes half a second: it is written once for all that a process compiles."""
    return make(cpu, **dict(parameters)).with_attr(KERNEL, True)


class KernelModule:
    """The functions that graphs share, each once."""

    def __init__(self, cpu: Cpu) -> None:
        self.cpu = cpu
        self.functions: dict[str, Any] = {}
        self._names: dict[object, str] = {}
        self._by_hash: dict[int, list[str]] = {}
        self._taken: dict[str, int] = {}

    def kernel(self, make: Callable[..., Any], parameters: Mapping[str, Any]) -> str:
        """The name of the kernel that `make(cpu, **parameters)` writes."""
        identity = (make, tuple(sorted(parameters.items())))
        name = self._names.get(identity)
        if name is None:
            name = self._names[identity] = self.add(make.__name__, _written(make, self.cpu, identity[1]))
        return name

    def add(self, name: str, function: Any) -> str:
        """Adds a function; its name, or that of an equal one that is there. A name of C: points become underscores."""
        name = name.replace(".", "_")
        alike = self._by_hash.setdefault(tvm_ffi.structural_hash(function), [])
        for other in alike:
            if tvm_ffi.structural_equal(self.functions[other], function):
                return other
        count = self._taken[name] = self._taken.get(name, -1) + 1
        unique = f"{name}_{count}" if count else name
        assert unique not in self.functions, f"there are two functions named {unique}"
        self.functions[unique] = function
        alike.append(unique)
        return unique

    def module(self) -> Any:
        """All functions as a module of TVM."""
        return tvm.IRModule({tvm.ir.GlobalVar(name): function for name, function in self.functions.items()})
