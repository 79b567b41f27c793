"""Operands that only some forms of a kernel have: its script names them all, and those it leaves unmatched go."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.tvm_library import T, tirx, tvm


def matched_if(there: bool, handle: Any, shape: tuple[Any, ...], element: str = "float32") -> Any:
    """The buffer of a handle, or None where the form has no such operand."""
    return T.match_buffer(handle, shape, element) if there else None


def kept(kernel: Any) -> Any:
    """The kernel without the parameters that were matched with no buffer."""
    parameters = [p for p in kernel.params if not isinstance(p.ty, tvm.ir.PointerType)]
    return tirx.PrimFunc(parameters, kernel.body, kernel.ret_type, kernel.attrs)
