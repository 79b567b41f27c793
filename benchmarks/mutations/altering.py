"""Small alterations of graphs, as faults are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from graphwright.ir import Builder, DType, Graph, Op, Program, StoredArray, Value, ops
from graphwright.ir.declare import OpDef
from graphwright.ir.weights import Applied


def every(graph: Graph, definition: OpDef, at: str = "") -> Iterator[Op]:
    """The ops of a kind whose module path ends in `at`, or all of them."""
    return (op for op in list(graph) if op.definition is definition and op.location.endswith(at))


def the(graph: Graph, definition: OpDef, at: str = "", index: int = 0) -> Op:
    """One of them, which must be there."""
    return list(every(graph, definition, at))[index]


def rebuilt(graph: Graph, op: Op, operands: dict[str, Value | None] | None = None, **attributes: Any) -> Op:
    """The op with other operands or attributes, in its place."""
    named = dict(zip((o.name for o in op.definition.operands), op.operands, strict=True)) | (operands or {})
    new = graph.insert(op.definition, named.values(), {**op.attributes, **attributes}, before=op, location=op.location)
    for old, value in zip(op.results, new.results, strict=True):
        graph.replace(old, value)
    graph.erase(op)
    return new


def exchange(graph: Graph, op: Op, one: int = 0, other: int = 1) -> None:
    """Swaps two operands of an op."""
    first, second = op.operands[one], op.operands[other]
    graph.set_operand(op, one, second)
    graph.set_operand(op, other, first)


def replaced(graph: Graph, value: Value, make: Callable[[Builder, Value], Value]) -> None:
    """Everything that used the result of an op uses what `make` builds from it, right behind that op."""
    assert value.owner is not None
    order = list(graph)
    behind = order.index(value.owner) + 1
    build = Builder(graph, order[behind] if behind < len(order) else None, value.owner.location)
    uses, outputs = list(value.uses), [name for name, v in graph.outputs.items() if v is value]
    new = make(build, value)
    for op, index in uses:
        graph.set_operand(op, index, new)
    graph.outputs |= dict.fromkeys(outputs, new)


def before(graph: Graph, op: Op, name: str, make: Callable[[Builder, Value], Value]) -> None:
    """One op reads what `make` builds from its operand instead of the operand."""
    build = Builder(graph, op, op.location)
    graph.set_operand(op, op.definition.operand_index(name), make(build, op.required(name)))


def bypass(graph: Graph, op: Op, index: int = 0) -> None:
    """Whatever used the op's result uses one of its operands."""
    graph.replace(op.result, op.inputs[index])
    graph.erase(op)


def number(graph: Graph, op: Op, value: float) -> None:
    """A constant is another number."""
    rebuilt(graph, op, value=value)


def real(op: Op, attribute: str) -> float:
    """A number among an op's attributes."""
    value = op.attributes[attribute]
    assert isinstance(value, (int, float))
    return float(value)


def size(value: Value, axis: int) -> int:
    """The length of an axis, which does not depend on the inputs."""
    length = value.type.shape[axis].constant
    assert length is not None
    return length


def uses_exchanged(graph: Graph, one: Value, other: Value) -> None:
    """Whatever reads one value reads the other, and the other way round."""
    uses, others = list(one.uses), list(other.uses)
    for op, index in uses:
        graph.set_operand(op, index, other)
    for op, index in others:
        graph.set_operand(op, index, one)


def transformed(program: Program, graph: Graph, value: Value, definition: OpDef, **attributes: Any) -> Value:
    """A weight with an op applied to it, as a value of the graph."""
    assert value.weight is not None
    expression = Applied.of(definition, (value.weight.expression,), attributes)
    return graph.weight(program.add_weight(value.weight.name, expression))


def picked(program: Program, graph: Graph, value: Value, order: list[int], axis: int) -> Value:
    """A weight with the elements of one axis in another order."""
    assert value.weight is not None
    index = StoredArray.of(torch.tensor(order))
    expression = Applied.of(ops.gather, (value.weight.expression, index), {"axis": axis})
    return graph.weight(program.add_weight(value.weight.name, expression))


def with_values(program: Program, graph: Graph, value: Value, make: Callable[[Tensor], Tensor]) -> Value:
    """A weight with other numbers."""
    assert value.weight is not None
    array = make(value.weight.evaluate()).contiguous()
    return graph.weight(program.add_weight(value.weight.name, StoredArray.of(array)))


def narrowed(build: Builder, value: Value) -> Value:
    """The value rounded to bfloat16."""
    return build(ops.cast, build(ops.cast, value, dtype=DType.BF16), dtype=value.tensor.dtype)
