"""The kernels of the tail: those that TVM writes for the threads of a GPU, under names that say so."""

from __future__ import annotations

from dataclasses import replace

from graphwright.backends.kernel_library import Kernel
from graphwright.backends.tvm.threads import LIBRARY

BODY = "graphwright.backends.cuda.emit.tail:emit_tail"


def _by_tail(kernel: Kernel) -> Kernel:
    return replace(kernel, name=f"tail_{kernel.name}", body=BODY)


TAIL = tuple(map(_by_tail, LIBRARY.kernels))
