"""Scratch of one iteration of a stage."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.tvm_library import T


def local_buffer(*shape: int, element: str = "float32") -> Any:
    """A buffer on the stack, or in registers where all its indices are known, of the block that is being written.

    Without the annotation TVM takes scratch of this scope, and all of 1 KiB or more, from a pool: a call each time, and
    never registers.
    """
    return T.alloc_buffer(shape, element, scope="local", annotations={"disable_lower_builtin": True})
