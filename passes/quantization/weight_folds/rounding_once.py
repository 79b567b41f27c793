"""Weights that are computed in float64 and rounded once, however many folds they take part in."""

from __future__ import annotations

from collections.abc import Callable

from graphwright.ir import DType, ops
from graphwright.ir.types import TensorType
from graphwright.ir.weights import Applied, WeightExpression

Transform = Callable[[WeightExpression], WeightExpression]
"""Makes a weight of another; the type stays."""


def rounded_once(expression: WeightExpression, transform: Transform) -> WeightExpression:
    """The transform of an expression in float64, rounded to the expression's own type."""
    assert isinstance(expression.type, TensorType)
    return Applied.of(ops.cast, (transform(in_double(expression)),), {"dtype": expression.type.dtype})


def in_double(expression: WeightExpression) -> WeightExpression:
    """The expression in float64: what it was before it was rounded, if it was computed there."""
    if isinstance(expression, Applied) and expression.definition is ops.cast:
        (computed,) = expression.operands
        if computed is not None and isinstance(computed.type, TensorType) and computed.type.dtype is DType.F64:
            return computed
    return Applied.of(ops.cast, (expression,), {"dtype": DType.F64})
