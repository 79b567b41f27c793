"""The operators that an archive may name.

Torch looks a name up in its own modules, from where nearly all of Python is within reach, and calls what it finds.
"""

import re
from typing import Any

import torch

from graphwright.frontend.expression_text import ExpressionError, quoted

_SIZE_FUNCTIONS = {
    "_operator": {
        "eq", "ne", "le", "ge", "lt", "gt", "neg", "pos", "mul", "add", "sub", "floordiv", "mod", "truediv", "and_",
        "or_", "pow", "lshift", "rshift",
    },
    "math": {"trunc", "floor", "ceil"},
    "torch": {"sym_not", "sym_int", "sym_float", "sym_ite", "sym_max", "sym_min", "sym_sqrt"},
}  # fmt: skip
"""Functions on sizes, which are called with sizes and numbers alone."""

_NESTED = {"wrap_with_set_grad_enabled", "wrap_with_autocast", "wrap_with_no_grad"}
"""What torch writes around the part of a trace under `torch.no_grad()` or `torch.autocast`."""

_NAMESPACES = {"aten", "prims"}
"""Others of torch send tensors to other machines, read files or give addresses of memory."""

_ON_SIZES = {
    "aten._assert_scalar.default", "aten.sym_constrain_range.default", "aten.sym_constrain_range_for_size.default",
}  # fmt: skip
"""Operators without tensors that torch writes beside numbers that data decide."""

_TOUCHES_FILES = {"aten.from_file", "aten._print"}
_NAME = re.compile(r"torch\.ops\.(\w+)\.(\w+)\.(\w+)", re.ASCII)


def require_operator(target: str) -> None:
    """Raises `ExpressionError` unless the name is of a registered torch operator or of a function on sizes."""
    module, _, name = target.rpartition(".")
    if name in _SIZE_FUNCTIONS.get(module, ()) or (module == "torch.ops.higher_order" and name in _NESTED):
        return
    found = _NAME.fullmatch(target)
    if found is None:
        raise ExpressionError(f"{quoted(target)} is not an operator that is read from an archive")
    namespace, operator, overload = found.groups()
    there: Any = torch.ops
    for part in (namespace, operator, overload):
        there = getattr(there, part, None) if part != "load_library" else None
    if not isinstance(there, torch._ops.OpOverload):
        raise ExpressionError(f"{quoted(target)} is not an operator that this torch has registered")
    name = f"{namespace}.{operator}.{overload}"
    if namespace not in _NAMESPACES or not (_on_tensors(there) or name in _ON_SIZES):
        raise ExpressionError(f"operator {quoted(target)} is none on tensors that a model has")
    if f"{namespace}.{operator}" in _TOUCHES_FILES:
        raise ExpressionError(f"operator {quoted(target)} touches files, which no model has to")


def _on_tensors(operator: Any) -> bool:
    """Whether it takes or gives tensors and torch dispatches it. What it doesn't are functions of TorchScript."""
    untyped: Any = torch._C
    schema = operator._schema
    types = [str(each.type) for each in (*schema.arguments, *schema.returns)]
    return any("Tensor" in each for each in types) and bool(untyped._dispatch_has_kernel(operator.name()))
