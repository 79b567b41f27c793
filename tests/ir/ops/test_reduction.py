from __future__ import annotations

import math

import pytest
import torch

from graphwright.ir import DType, IRTypeError, ops, tensor
from tests.ir.evaluation import evaluate
from tests.tensors import listed

X = torch.arange(24, dtype=torch.float64).reshape(2, 3, 4).sin()


def test_reductions_by_their_definitions() -> None:
    rows = [sorted(float(X[i, j, k]) for i in range(2) for k in range(4)) for j in range(3)]
    sums = [math.fsum(row) for row in rows]
    means = [total / 8 for total in sums]
    assert listed(evaluate(ops.sum, X, axes=(0, 2))) == pytest.approx(sums, rel=1e-13)
    assert listed(evaluate(ops.mean, X, axes=(0, -1))) == pytest.approx(means, rel=1e-13)
    assert listed(evaluate(ops.amax, X, axes=(0, 2))) == [row[-1] for row in rows]
    assert listed(evaluate(ops.amin, X, axes=(0, 2))) == [row[0] for row in rows]
    variances = [math.fsum((x - m) ** 2 for x in row) / 8 for row, m in zip(rows, means, strict=True)]
    assert listed(evaluate(ops.var, X, axes=(0, 2))) == pytest.approx(variances, rel=1e-13)


def test_kept_axes_have_length_one() -> None:
    assert evaluate(ops.sum, X, axes=(1,), keepdims=True).shape == (2, 1, 4)
    assert evaluate(ops.sum, X, axes=(1,)).shape == (2, 4)


def test_reductions_of_bools() -> None:
    x = torch.tensor([[True, False], [True, True], [False, False]])
    assert listed(evaluate(ops.any, x, axes=(1,))) == [True, True, False]
    assert listed(evaluate(ops.all, x, axes=(1,))) == [False, True, False]
    count = evaluate(ops.sum, x, axes=(0,))
    assert (count.dtype, listed(count)) == (torch.int64, [2, 1])


def test_softmax_by_its_definition() -> None:
    exponentials = [[math.exp(float(v)) for v in row] for row in X[0]]
    wanted = [[e / sum(row) for e in row] for row in exponentials]
    found = evaluate(ops.softmax, X, axis=-1)[0]
    for row, right in zip(listed(found), wanted, strict=True):
        assert row == pytest.approx(right, rel=1e-13)


def test_running_sums() -> None:
    assert listed(evaluate(ops.cumsum, torch.tensor([[1.0, 2.0, 4.0]]), axis=1)) == [[1, 3, 7]]
    assert listed(evaluate(ops.cumsum, torch.tensor([True, False, True]), axis=0)) == [1, 1, 2]


@pytest.mark.parametrize(
    ("axes", "problem"),
    [((), r"axes \[\] to reduce"), ((0, -2), "name an axis twice"), ((2,), "axis 2 is outside a tensor of 2 axes")],
)
def test_bad_axes(axes: tuple[int, ...], problem: str) -> None:
    with pytest.raises(IRTypeError, match=problem):
        ops.sum.infer([tensor("f32", 2, 3)], {"axes": axes, "keepdims": False})


def test_kinds_that_have_no_mean() -> None:
    with pytest.raises(IRTypeError, match="x must be floating point"):
        ops.mean.infer([tensor(DType.I64, 2)], {"axes": (0,), "keepdims": False})
    with pytest.raises(IRTypeError, match="x must be bool"):
        ops.any.infer([tensor(DType.F32, 2)], {"axes": (0,), "keepdims": False})
