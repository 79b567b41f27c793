"""Limits on what torch runs of an archive while it makes its operators functional.

Torch then calls each operator with tensors that have sizes and no values, and each function on sizes. What a file says
of results is not believed: operands are looked at when they are there.
"""

import itertools
import operator
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from graphwright.frontend.archive.expressions import extent_of
from graphwright.frontend.expression_text import LARGEST, ExpressionError

MOST_PIECES = 1 << 13
"""Tensors that an operator may give, and steps of a recurrence: torch makes Python objects for each."""

MOST_NODES = 1 << 19
"""Nodes of graphs that are made in all. An operator may be broken into many, again and again."""

HIGHEST_POWER = 64

_RECURRENCES = frozenset({"aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu"})
_COUNTS = frozenset({"chunks", "sections", "r"})
"""Operands that say how many tensors an operator gives or takes its input for."""


@contextmanager
def bounded_execution() -> Generator[None]:
    """While this lasts torch raises `ExpressionError` before a call that takes long or much memory.

    It does too once it has made more than `MOST_NODES` nodes of graphs.
    """
    interpreter: Any = torch.fx.Interpreter
    graph_type: Any = torch.fx.Graph
    before, create_before = interpreter.call_function, graph_type.create_node
    known: set[Any] = set()
    numbers = itertools.count(1)

    def create_node(self: Any, *args: Any, **kwargs: Any) -> Any:
        if next(numbers) > MOST_NODES:
            raise ExpressionError(f"its operators become more than {MOST_NODES} simpler ones")
        return create_before(self, *args, **kwargs)

    def call_function(self: Any, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if target is not operator.getitem:  # which torch adds by itself to take results apart
            _require_small(target, args, kwargs, known)
        for graph in args:
            if isinstance(graph, torch.fx.GraphModule):  # else its code would run, not the interpreter
                graph.forward = torch.fx.Interpreter(graph).run
        return before(self, target, args, kwargs)

    interpreter.call_function, graph_type.create_node = call_function, create_node
    try:
        yield
    finally:
        interpreter.call_function, graph_type.create_node = before, create_before


def _require_small(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], known: set[Any]) -> None:
    leaves = tree_leaves((args, kwargs))
    for leaf in leaves:
        if isinstance(leaf, int) and abs(leaf) > LARGEST:
            raise ExpressionError(f"it computes a size of {leaf.bit_length()} bits")
        if isinstance(leaf, (torch.SymInt, torch.SymFloat, torch.SymBool)):
            untyped: Any = leaf
            _require_simple(untyped.node.expr, known)
    if isinstance(target, torch._ops.OpOverload):
        names = [argument.name for argument in target._schema.arguments]
        pieces = _pieces(target, dict(zip(names, args, strict=False)) | kwargs)
        if pieces > MOST_PIECES:
            raise ExpressionError(f"{target} makes {pieces} pieces, {MOST_PIECES} at most are made")
    elif not isinstance(target, torch._ops.HigherOrderOperator):
        _require_numbers(target, [*args, *kwargs.values()])


def _require_simple(expression: Any, known: set[Any]) -> None:
    """A size that is computed is held to what one that is written is."""
    sympy: Any = import_module("sympy")
    if expression not in known:
        extent_of(sympy.srepr(expression))
        known.add(expression)


def _require_numbers(function: Any, operands: list[Any]) -> None:
    """Functions on sizes also take texts and lists, which `*` repeats."""
    numbers = (int, float, torch.SymInt, torch.SymFloat, torch.SymBool)
    strange = [operand for operand in operands if not isinstance(operand, numbers)]
    if strange:
        raise ExpressionError(f"{function.__name__} is called with {type(strange[0]).__name__}, which is not a size")
    if function.__name__ in ("pow", "lshift"):
        power = operands[-1]
        if not isinstance(power, (int, float)) or not abs(power) <= HIGHEST_POWER:
            raise ExpressionError(f"{function.__name__} takes constants up to {HIGHEST_POWER} as its second operand")


def _pieces(target: Any, operands: Mapping[str, Any]) -> int:
    """How many tensors an operator goes through in Python; 0 for one that has no such loop."""
    tensor = next(iter(operands.values()), None)
    counts = [_value(operands[name]) for name in _COUNTS & operands.keys()]
    name = target._schema.name
    if isinstance(tensor, torch.Tensor) and tensor.dim():
        sizes = [_value(size) for size in tensor.shape]
        if name in _RECURRENCES:
            counts += sizes[:2]
        elif name == "aten::diff":
            counts.append(_value(operands.get("n", 1)))
        elif name.startswith("aten::unbind"):
            counts.append(_along(sizes, operands))
        elif not isinstance(operands.get("split_size"), (list, tuple, type(None))):
            counts.append(_along(sizes, operands) // max(1, _value(operands["split_size"])))
    return max(counts, default=0)


def _along(sizes: list[int], operands: Mapping[str, Any]) -> int:
    axis = operands.get("dim", 0)
    return sizes[axis] if isinstance(axis, int) and -len(sizes) <= axis < len(sizes) else 0


def _value(size: Any) -> int:
    """A size, or the one that it had when it was traced; 0 for what is none or only data decide."""
    if isinstance(size, torch.SymInt):
        untyped: Any = size
        return int(untyped.node.hint) if untyped.node.has_hint() else 0
    return size if isinstance(size, int) else 0
