"""The operators that an archive may name.

Torch looks a name up in its own modules, from where nearly all of Python is within reach, and calls what it finds.
"""

from __future__ import annotations

import re
from typing import Any

import torch

from graphwright.frontend.expression_text import ExpressionError, quoted

_SIZE_FUNCTIONS = {
    "_operator": {
        "eq", "ne", "le", "ge", "lt", "gt", "neg", "pos", "mul", "add", "sub", "floordiv", "mod", "truediv", "and_",
        "or_", "pow", "lshift", "rshift", "getitem",
    },
    "math": {"trunc", "floor", "ceil"},
    "torch": {"sym_not", "sym_int", "sym_float", "sym_ite", "sym_max", "sym_min", "sym_sqrt"},
}  # fmt: skip
"""Functions on sizes, which are called with sizes and numbers alone."""

_NESTED = {"wrap_with_set_grad_enabled", "wrap_with_autocast", "wrap_with_no_grad"}
"""What torch writes around the part of a trace under `torch.no_grad()` or `torch.autocast`."""

_TOUCHES_FILES = {"aten.from_file", "aten._print"}
_NAME = re.compile(r"torch\.ops\.(\w+)\.(\w+)\.(\w+)", re.ASCII)


def require_operator(target: str) -> None:
    """Raises `ExpressionError` unless the name is of a registered torch operator or of a function on sizes."""
    module, _, name = target.rpartition(".")
    if name in _SIZE_FUNCTIONS.get(module, ()) or (module == "torch.ops.higher_order" and name in _NESTED):
        return
    found = _NAME.fullmatch(target)
    if found is None:
        raise ExpressionError(f"{quoted(target)} is no operator that is read from an archive")
    namespace, operator, overload = found.groups()
    there: Any = torch.ops
    for part in (namespace, operator, overload):
        there = getattr(there, part, None) if part != "load_library" else None
    if not isinstance(there, torch._ops.OpOverload):
        raise ExpressionError(f"{quoted(target)} is no operator that this torch has registered")
    if f"{namespace}.{operator}" in _TOUCHES_FILES:
        raise ExpressionError(f"operator {quoted(target)} touches files, which no model has to")
