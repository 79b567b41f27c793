"""Constant folding: what depends on weights and constants alone becomes a weight, evaluated only when it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir import Dim, Graph, Op, Program, Value, ops
from graphwright.ir.attributes import Attribute
from graphwright.ir.interpreter import apply_reference
from graphwright.ir.types import TensorType
from graphwright.ir.weights import Applied, WeightExpression

if TYPE_CHECKING:
    from torch import Tensor


def fold_weights(program: Program, graph: Graph) -> int:
    """Turns every op over weights and constants into a lazy weight. Returns how many ops were folded."""
    folded = 0
    for op in graph:
        # What has no operands stays as it is: a constant says more than a weight.
        if not op.operands or len(op.results) != 1 or not op.definition.has_reference or _symbolic(op):
            continue
        expressions = [None if v is None else _expression(v) for v in op.operands]
        missing = any(e is None for e, v in zip(expressions, op.operands, strict=True) if v is not None)
        if missing or not any(v.weight is not None for v in op.inputs):
            continue
        expression = Applied.of(op.definition, tuple(expressions), op.attributes)
        weight = program.add_weight(_name(op), expression)
        graph.replace(op.result, graph.weight(weight))
        graph.erase_dead([op])
        folded += 1
    return folded


def fold_numbers(graph: Graph) -> int:
    """Evaluates arithmetic between rank-0 constants, and reads rank-0 weights. Returns how many values were folded."""
    folded = _weights_to_numbers(graph)
    for op in graph:
        if len(op.results) != 1 or op.result.type.rank or not op.inputs:
            continue
        if not op.definition.has_reference or _symbolic(op) or not isinstance(op.result.type, TensorType):
            continue
        values = [None if v is None else v.defined_by(ops.constant) for v in op.operands]
        if any(c is None for c, v in zip(values, op.operands, strict=True) if v is not None):
            continue
        tensors = [None if c is None else _evaluate(c) for c in values]
        number = apply_reference(op.definition, tensors, op.attributes, [op.result.type], {})[0].item()
        new = graph.insert(
            ops.constant, (), {"value": number, "dtype": op.result.type.dtype}, before=op, location=op.location
        )
        graph.replace(op.result, new.result)
        graph.erase_dead([op])
        folded += 1
    return folded


def _weights_to_numbers(graph: Graph) -> int:
    """A weight of rank 0 is a number."""
    folded = 0
    for value in graph.weights:
        if value.weight is None or value.type.rank or not isinstance(value.type, TensorType) or not value.uses:
            continue
        number = value.weight.evaluate().item()
        first = next(iter(graph))
        constant = graph.insert(ops.constant, (), {"value": number, "dtype": value.type.dtype}, before=first)
        graph.replace(value, constant.result)
        folded += 1
    return folded


def _evaluate(constant: Op) -> Tensor:
    return apply_reference(constant.definition, [], constant.attributes, [constant.result.type], {})[0]


def _symbolic(op: Op) -> bool:
    return any(d.constant is None for v in op.results for d in v.type.shape) or any(
        _has_symbol(a) for a in op.attributes.values()
    )


def _has_symbol(attribute: Attribute) -> bool:
    if isinstance(attribute, tuple):
        return any(map(_has_symbol, attribute))
    return isinstance(attribute, Dim) and attribute.constant is None


def _expression(value: Value) -> WeightExpression | None:
    if value.weight is not None:
        return value.weight.expression
    if value.owner is not None and not value.owner.operands and not _symbolic(value.owner):
        return Applied.of(value.owner.definition, (), value.owner.attributes)
    return None


def _name(op: Op) -> str:
    """The name of the first weight that went into it, or of the place where it was computed."""
    for value in op.inputs:
        if value.weight is not None:
            return value.weight.name
    return op.location or op.name
