"""Elementwise primitives: arithmetic, comparisons, logic, casts and choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from graphwright.ir.declare import OpDef, TypeRule, op
from graphwright.ir.errors import IRTypeError
from graphwright.ir.lazy import torch
from graphwright.ir.ops.rules import (
    aligned_right,
    broadcast,
    require_bool,
    require_float,
    require_nothing,
    require_number,
    same_dtype,
)
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.traits import Trait
from graphwright.ir.types import DType, TensorType

if TYPE_CHECKING:
    from torch import Tensor

    Unary = Callable[[Tensor], Tensor]
    Binary = Callable[[Tensor, Tensor], Tensor]

__all__ = [
    "abs", "add", "cast", "cos", "div", "eq", "erf", "exp", "floor", "ge", "gt", "le", "log", "log1p", "logical_and",
    "logical_not", "logical_or", "lt", "maximum", "minimum", "mul", "ne", "neg", "pow", "reciprocal", "remainder",
    "rsqrt", "sigmoid", "sin", "sqrt", "sub", "tanh", "where",
]  # fmt: skip

Requirement = Callable[[str, TensorType], None]


def _binary(
    name: str,
    doc: str,
    function: Binary,
    *traits: Trait,
    commutative: bool = False,
    require: Requirement = require_number,
) -> OpDef:
    def rule(x: TensorType, y: TensorType) -> TensorType:
        require("x", x)
        same_dtype(x, y)
        return TensorType(x.dtype, broadcast(x.shape, y.shape))

    return _declare(name, doc, rule, function, *traits, commutative=commutative)


def _comparison(name: str, doc: str, function: Binary, *, commutative: bool = False) -> OpDef:
    def rule(x: TensorType, y: TensorType) -> TensorType:
        same_dtype(x, y)
        return TensorType(DType.BOOL, broadcast(x.shape, y.shape))

    return _declare(name, doc, rule, function, Trait.SWITCHES, commutative=commutative)


def _unary(name: str, doc: str, function: Unary, *traits: Trait, require: Requirement = require_float) -> OpDef:
    def rule(x: TensorType) -> TensorType:
        require("x", x)
        return x

    return _declare(name, doc, rule, function, *traits)


def _declare(
    name: str, doc: str, rule: TypeRule, function: Unary | Binary, *traits: Trait, commutative: bool = False
) -> OpDef:
    rule.__doc__ = doc
    definition = op(name, Trait.ELEMENTWISE, *traits, commutative=commutative)(rule)
    definition.reference(function)
    definition.axes(aligned_right)
    return definition


add = _binary(
    "add", "x + y; of bools, or.", lambda x, y: x + y, Trait.LINEAR, commutative=True, require=require_nothing
)
sub = _binary("sub", "x - y.", lambda x, y: x - y, Trait.LINEAR)
mul = _binary("mul", "x * y; of bools, and.", lambda x, y: x * y, commutative=True, require=require_nothing)
div = _binary(
    "div",
    "x / y; integers divide rounding down.",
    lambda x, y: x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="floor"),
)
remainder = _binary("remainder", "x modulo y, with the sign of y.", lambda x, y: torch.remainder(x, y), Trait.SWITCHES)
pow = _binary("pow", "x to the power y.", lambda x, y: torch.pow(x, y))
maximum = _binary(
    "maximum",
    "The larger of x and y.",
    lambda x, y: torch.maximum(x, y),
    Trait.SWITCHES,
    commutative=True,
    require=require_nothing,
)
minimum = _binary(
    "minimum",
    "The smaller of x and y.",
    lambda x, y: torch.minimum(x, y),
    Trait.SWITCHES,
    commutative=True,
    require=require_nothing,
)
logical_and = _binary(
    "logical_and", "x and y, both bool.", lambda x, y: x & y, Trait.SWITCHES, commutative=True, require=require_bool
)
logical_or = _binary(
    "logical_or", "x or y, both bool.", lambda x, y: x | y, Trait.SWITCHES, commutative=True, require=require_bool
)

lt = _comparison("lt", "x < y.", lambda x, y: x < y)
le = _comparison("le", "x <= y.", lambda x, y: x <= y)
gt = _comparison("gt", "x > y.", lambda x, y: x > y)
ge = _comparison("ge", "x >= y.", lambda x, y: x >= y)
eq = _comparison("eq", "x == y.", lambda x, y: x == y, commutative=True)
ne = _comparison("ne", "x != y.", lambda x, y: x != y, commutative=True)

neg = _unary("neg", "-x.", lambda x: -x, Trait.LINEAR, require=require_number)
abs = _unary("abs", "The absolute value.", lambda x: x.abs(), Trait.SWITCHES, require=require_number)
logical_not = _unary("logical_not", "not x, of a bool.", lambda x: ~x, Trait.SWITCHES, require=require_bool)
exp = _unary("exp", "e to the x.", lambda x: x.exp())
log = _unary("log", "The natural logarithm.", lambda x: x.log())
log1p = _unary("log1p", "The natural logarithm of 1 + x, exact also where x is small.", lambda x: x.log1p())
sqrt = _unary("sqrt", "The square root.", lambda x: x.sqrt())
rsqrt = _unary("rsqrt", "1 / sqrt(x).", lambda x: x.rsqrt())
reciprocal = _unary("reciprocal", "1 / x.", lambda x: x.reciprocal())
sin = _unary("sin", "The sine.", lambda x: x.sin())
cos = _unary("cos", "The cosine.", lambda x: x.cos())
tanh = _unary("tanh", "The hyperbolic tangent.", lambda x: x.tanh())
sigmoid = _unary("sigmoid", "1 / (1 + exp(-x)).", lambda x: x.sigmoid())
erf = _unary("erf", "The error function.", lambda x: x.erf())
floor = _unary("floor", "The largest integer not above x.", lambda x: x.floor(), Trait.SWITCHES)


@op("cast", Trait.ELEMENTWISE, Trait.LINEAR)
def cast(x: TensorType, *, dtype: DType) -> TensorType:
    """The same values in another element type; floats round to nearest even, float to integer truncates."""
    if DType.F4E2M1 in (x.dtype, dtype):
        raise IRTypeError("f4e2m1 is a type of codes: round_to_nearest makes them, dequantize reads them")
    return x.with_dtype(dtype)


@cast.reference
def cast_reference(x: Tensor, *, dtype: DType) -> Tensor:
    return x.to(torch_dtype(dtype))


cast.axes(aligned_right)


@op("where", Trait.ELEMENTWISE, Trait.SWITCHES)
def where(condition: TensorType, x: TensorType, y: TensorType) -> TensorType:
    """x where the condition (bool) holds, else y."""
    require_bool("condition", condition)
    same_dtype(x, y)
    return TensorType(x.dtype, broadcast(condition.shape, x.shape, y.shape))


@where.reference
def where_reference(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return torch.where(condition, x, y)


where.axes(aligned_right)
