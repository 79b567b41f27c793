"""Whose memory a variable of a Relax function holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphwright.backends.tvm.tvm_library import relax, tvm

VIEWS = ("relax.reshape", "relax.expand_dims", "relax.squeeze", "relax.flatten")
"""Relax operators whose result is the memory of their operand."""
IN_PLACE = "relax.call_tir_inplace"


def origin(variable: Any, bound: Callable[[Any], Any]) -> Any:
    """The variable that was made with the memory of the given one, before views of it and changes in place.

    `bound` tells what a variable was bound to, None for a parameter.
    """
    source: Any = variable
    while isinstance(source, tvm.ir.Var):
        variable, source = source, _source(bound(source), bound)
    return variable


def _source(made: Any, bound: Callable[[Any], Any]) -> Any:
    """What an expression's value has its memory from; None if from nothing before."""
    if isinstance(made, tvm.ir.Var):
        return made
    if isinstance(made, tvm.ir.TupleGetItem):
        return _changed(bound(made.tuple_value), made.index)
    if isinstance(made, relax.Call) and made.op.name in VIEWS:
        return made.args[0]
    return _changed(made, 0)


def _changed(made: Any, result: int) -> Any:
    """The argument that is a result of a call in place."""
    if not isinstance(made, relax.Call) or made.op.name != IN_PLACE:
        return None
    index = int(made.attrs.inplace_indices[result])
    return made.args[1].fields[index] if index >= 0 else None
