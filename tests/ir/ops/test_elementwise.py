"""Each elementwise op against Python's own arithmetic, element by element."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch

from graphwright.ir import DType, IRTypeError, ops, tensor
from graphwright.ir.declare import OpDef
from graphwright.ir.text import parse_type
from tests.ir.evaluation import evaluate
from tests.tensors import listed

X = torch.tensor([-2.5, -1.0, -0.3, 0.0, 0.7, 1.0, 2.0, 3.5], dtype=torch.float64)
Y = torch.tensor([1.5, -2.0, 0.25, 3.0, -0.7, 1.0, 2.5, -3.5], dtype=torch.float64)


def close(found: torch.Tensor, wanted: list[Any]) -> None:
    assert listed(found) == pytest.approx(wanted, rel=1e-14, abs=1e-15)


BINARY: list[tuple[OpDef, Callable[[float, float], float]]] = [
    (ops.add, operator.add),
    (ops.sub, operator.sub),
    (ops.mul, operator.mul),
    (ops.div, lambda x, y: x / y),
    (ops.remainder, operator.mod),
    (ops.maximum, max),
    (ops.minimum, min),
    (ops.lt, operator.lt),
    (ops.le, operator.le),
    (ops.gt, operator.gt),
    (ops.ge, operator.ge),
    (ops.eq, operator.eq),
    (ops.ne, operator.ne),
]
UNARY: list[tuple[OpDef, Callable[[float], float]]] = [
    (ops.neg, operator.neg),
    (ops.abs, abs),
    (ops.exp, math.exp),
    (ops.sin, math.sin),
    (ops.cos, math.cos),
    (ops.tanh, math.tanh),
    (ops.erf, math.erf),
    (ops.floor, math.floor),
    (ops.sigmoid, lambda x: 1 / (1 + math.exp(-x))),
]
UNARY_OF_POSITIVE: list[tuple[OpDef, Callable[[float], float]]] = [
    (ops.log, math.log),
    (ops.log1p, math.log1p),
    (ops.sqrt, math.sqrt),
    (ops.rsqrt, lambda x: 1 / math.sqrt(x)),
    (ops.reciprocal, lambda x: 1 / x),
]


@pytest.mark.parametrize(("op", "function"), BINARY)
def test_binary(op: OpDef, function: Callable[[float, float], float]) -> None:
    found = evaluate(op, X, Y)
    wanted = [function(x, y) for x, y in zip(listed(X), listed(Y), strict=True)]
    if found.dtype is torch.bool:
        assert listed(found) == wanted
    else:
        close(found, wanted)


@pytest.mark.parametrize(("op", "function"), UNARY)
def test_unary(op: OpDef, function: Callable[[float], float]) -> None:
    close(evaluate(op, X), [function(x) for x in listed(X)])


@pytest.mark.parametrize(("op", "function"), UNARY_OF_POSITIVE)
def test_unary_of_positive_numbers(op: OpDef, function: Callable[[float], float]) -> None:
    positive = X.square() + 0.1
    close(evaluate(op, positive), [function(x) for x in listed(positive)])


def test_powers() -> None:
    close(evaluate(ops.pow, X.abs() + 0.1, Y), [(abs(x) + 0.1) ** y for x, y in zip(listed(X), listed(Y), strict=True)])


def test_integers_divide_rounding_down_and_the_remainder_fits() -> None:
    x, y = torch.tensor([7, -7, 7, -7]), torch.tensor([2, 2, -2, -2])
    assert listed(evaluate(ops.div, x, y)) == [3, -4, -4, 3]
    assert listed(evaluate(ops.remainder, x, y)) == [1, 1, -1, -1]


def test_logic() -> None:
    x, y = torch.tensor([False, False, True, True]), torch.tensor([False, True, False, True])
    assert listed(evaluate(ops.logical_and, x, y)) == listed(evaluate(ops.mul, x, y)) == [False, False, False, True]
    assert listed(evaluate(ops.logical_or, x, y)) == listed(evaluate(ops.add, x, y)) == [False, True, True, True]
    assert listed(evaluate(ops.logical_not, x)) == [True, True, False, False]
    assert listed(evaluate(ops.where, x, torch.ones(4), torch.zeros(4))) == [0, 0, 1, 1]


def test_casts_round_to_nearest_even_and_truncate_to_integers() -> None:
    # 1 + 2^-8 lies half way between two bfloat16 numbers.
    assert listed(evaluate(ops.cast, torch.tensor([1 + 2**-8, 1 + 3 * 2**-8]), dtype=DType.BF16)) == [1.0, 1.015625]
    assert listed(evaluate(ops.cast, torch.tensor([1.9, -1.9]), dtype=DType.I64)) == [1, -1]
    assert listed(evaluate(ops.cast, torch.tensor([0, 5]), dtype=DType.BOOL)) == [False, True]


@pytest.mark.parametrize(
    ("op", "operands", "problem"),
    [
        (ops.add, ("f32[2]", "i64[2]"), "element types differ: f32 and i64"),
        (ops.add, ("f32[2, 3]", "f32[4]"), r"shapes \[2, 3\] and \[4\] do not broadcast: 3 against 4"),
        (ops.add, ("f32[B]", "f32[S]"), "do not broadcast: B against S"),
        (ops.sub, ("bool[2]", "bool[2]"), "x must hold numbers"),
        (ops.logical_and, ("i64[2]", "i64[2]"), "x must be bool"),
        (ops.logical_not, ("i64[2]",), "x must be bool"),
        (ops.exp, ("i64[2]",), "x must be floating point"),
        (ops.where, ("f32[2]", "f32[2]", "f32[2]"), "condition must be bool"),
    ],
)
def test_operands_that_do_not_fit(op: OpDef, operands: tuple[str, ...], problem: str) -> None:
    with pytest.raises(IRTypeError, match=f"^{op.name} at model.here: .*{problem}"):
        op.infer([parse_type(text) for text in operands], op.complete({}), "model.here")


def test_a_quantized_weight_or_a_state_is_no_tensor() -> None:
    with pytest.raises(IRTypeError, match=r"operand 'y' is q4<g32, sym>\[8, 64\], expected a tensor"):
        ops.matmul.infer([tensor("f32", 2, 8), parse_type("q4<g32, sym>[8, 64]")], {})
    with pytest.raises(IRTypeError, match=r"operand 'y' is state<contiguous f32\[2\]>, expected a tensor"):
        ops.add.infer([tensor("f32", 2), parse_type("state<contiguous f32[2]>")], {})
    with pytest.raises(IRTypeError, match=r"operand 'cache' is f32.*, expected a state"):
        ops.kv_append.infer([tensor("f32", 1, 2, 3, 4), tensor("f32", 1, 2, 1, 4), tensor("i64", 1)], {})
