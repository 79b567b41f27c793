"""Kernels compiled on their own and timed in turns."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphwright.backends.kernel_library import Problem
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.library import library_for
from graphwright.backends.tvm.tvm_library import llvm_target, tvm

COLD = 1 << 27
"""Bytes that are read between two readings of the same ones: four times the largest cache."""

Run = Callable[[], object]


def written(kernel: str, template: Callable[..., Any], cpu: Cpu, *form: Any, **parameters: Any) -> Any:
    """A template with the settings of a kernel of the library."""
    library = library_for(cpu)
    settings = library.settings(library.kernel(kernel), Problem(cpu))
    return template(cpu, *form, settings=settings, **parameters)


def use_threads(threads: int) -> None:
    """How many threads TVM takes for parallel loops. To be called before the first kernel runs."""
    os.environ["TVM_NUM_THREADS"] = str(threads)


def built(kernel: Any, cpu: Cpu) -> Any:
    """The kernel as a function of TVM tensors."""
    module = tvm.IRModule({"main": kernel.with_attr("global_symbol", "main")})
    # The pass that lets buffers share memory would forget which of them belong on the stack; a step has not got it.
    with tvm.transform.PassContext(config={"tirx.disable_storage_rewrite": True}):
        return tvm.tirx.build(module, target=llvm_target(cpu), pipeline="s_tir")["main"]


def least_seconds(runs: Mapping[str, Sequence[Run]], rounds: int) -> dict[str, float]:
    """The least of each one's times. They take turns, so that a disturbance meets all.

    So do the runs of each, and no two that follow one another have the same number: they may read the same memory.
    """
    least = dict.fromkeys(runs, float("inf"))
    turn = 0
    for _ in range(rounds):
        for name, choices in runs.items():
            turn += 1
            start = time.perf_counter()
            choices[turn % len(choices)]()
            least[name] = min(least[name], time.perf_counter() - start)
    return least
