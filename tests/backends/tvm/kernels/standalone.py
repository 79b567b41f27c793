"""A kernel compiled on its own and called with arrays, as the step function would call it with buffers."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from graphwright.backends.kernel_library import Problem, Settings
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.library import library_for
from graphwright.backends.tvm.tvm_library import llvm_target, tvm

os.environ.setdefault("TVM_NUM_THREADS", "2")


def settings_for(kernel: str, cpu: Cpu, **chosen: int) -> Settings:
    """The settings of a kernel of the library."""
    library = library_for(cpu)
    return library.settings(library.kernel(kernel), Problem(cpu), chosen)


def written(kernel: str, template: Callable[..., Any], cpu: Cpu, *form: Any, **parameters: Any) -> Any:
    """A template with the settings of a kernel of the library."""
    return template(cpu, *form, settings=settings_for(kernel, cpu), **parameters)


def compiled(kernel: Any, cpu: Cpu) -> Any:
    """The kernel as a function of TVM tensors, outputs last; its parallel loops run on TVM's threads."""
    module = tvm.IRModule({"main": kernel.with_attr("global_symbol", "main")})
    # The pass that lets buffers share memory would forget which of them belong on the stack.
    with tvm.transform.PassContext(config={"tirx.disable_storage_rewrite": True}):
        return tvm.tirx.build(module, target=llvm_target(cpu), pipeline="s_tir")["main"]


def run(function: Any, *arrays: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """All arrays after a call of a compiled kernel; those it was given stay as they are."""
    tensors = [tvm.runtime.tensor(np.ascontiguousarray(array)) for array in arrays]
    function(*tensors)
    return [tensor.numpy() for tensor in tensors]


def call(kernel: Any, cpu: Cpu, *arrays: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """All arrays after a call of the kernel; those it was given stay as they are."""
    return run(compiled(kernel, cpu), *arrays)
