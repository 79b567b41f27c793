from __future__ import annotations

from math import inf
from typing import NotRequired, TypedDict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphwright.ir import Dim, DType, IRTypeError, ops, tensor
from graphwright.ir.attributes import Attribute
from graphwright.ir.declare import OpDef
from graphwright.ir.ops.shape import reshape_flow
from tests.ir.evaluation import evaluate
from tests.tensors import listed

X = torch.arange(24).reshape(2, 3, 4)


def test_makers() -> None:
    assert listed(evaluate(ops.constant, value=2.5, dtype=DType.F32, shape=(2,))) == [2.5, 2.5]
    assert evaluate(ops.constant, value=3, dtype=DType.I64).item() == 3
    assert listed(evaluate(ops.iota, size=4, dtype=DType.I64)) == [0, 1, 2, 3]
    assert evaluate(ops.dim_value, value=7).item() == 7


def test_movers_against_indexing() -> None:
    assert listed(evaluate(ops.reshape, X, shape=(4, 6))) == [list(range(6 * i, 6 * i + 6)) for i in range(4)]
    turned = evaluate(ops.transpose, X, permutation=(2, 0, 1))
    assert all(turned[k, i, j] == X[i, j, k] for i in range(2) for j in range(3) for k in range(4))
    assert listed(evaluate(ops.expand, torch.tensor([[1], [2]]), shape=(2, 2, 3))) == [[[1] * 3, [2] * 3]] * 2
    assert evaluate(ops.concat, X, X, axis=1)[1, 4, 2] == X[1, 1, 2]


def test_heads() -> None:
    x = torch.arange(2 * 3 * 8).reshape(2, 3, 8)
    heads = evaluate(ops.split_heads, x, heads=2)
    assert heads.shape == (2, 2, 3, 4)
    assert heads[1, 1, 2, 3] == x[1, 2, 1 * 4 + 3]
    assert torch.equal(evaluate(ops.merge_heads, heads), x)


def test_indexing() -> None:
    table = torch.arange(10.0).reshape(5, 2)
    assert listed(evaluate(ops.embedding, table, torch.tensor([[4, 0]]))) == [[[8, 9], [0, 1]]]
    picked = evaluate(ops.gather, X, torch.tensor([[2, 0]]), axis=1)
    assert picked.shape == (2, 1, 2, 4)
    assert torch.equal(picked[:, 0, 0], X[:, 2])
    elements = evaluate(ops.gather_elements, X, torch.tensor([[[1, 3]], [[0, 2]]]), axis=2)
    assert listed(elements) == [[[1, 3]], [[12, 14]]]
    assert listed(evaluate(ops.take_tokens, X.float(), torch.tensor([[2], [0]]))[:, 0, 0]) == [8, 12]


class SliceBounds(TypedDict):
    start: int
    stop: NotRequired[int]
    step: int


@given(st.integers(0, 6), st.integers(-8, 8), st.one_of(st.none(), st.integers(-8, 8)), st.integers(1, 3))
def test_slices_are_those_of_python(length: int, start: int, stop: int | None, step: int) -> None:
    bounds = SliceBounds(start=start, step=step) if stop is None else SliceBounds(start=start, stop=stop, step=step)
    wanted = list(range(length))[start:stop:step]
    try:
        found = evaluate(ops.slice, torch.arange(length), axis=0, **bounds)
    except IRTypeError as problem:
        # Bounds that cross are refused: nobody means them.
        assert not wanted and "is empty" in str(problem)  # noqa: PT017, PT018 - one claim about a refusal
    else:
        assert listed(found) == wanted


@pytest.mark.parametrize(
    ("start", "stop", "length"),
    [("0", "P", "P"), ("P", "P+S", "S"), ("-1", None, "1"), ("1", None, "P+S-1"), ("0", "-1", "P+S-1")],
)
def test_slices_of_a_symbolic_axis(start: str, stop: str | None, length: str) -> None:
    attributes = {"axis": 0, "start": Dim.of(start)} | ({} if stop is None else {"stop": Dim.of(stop)})
    (type,) = ops.slice.infer([tensor("f32", "P+S", 4)], ops.slice.complete(attributes))
    assert str(type) == f"f32[{length}, 4]"


SHAPES = st.lists(st.sampled_from([Dim.of(n) for n in (1, 2, 3)] + [Dim.of("B"), Dim.of("S")]), max_size=4)


@given(SHAPES, SHAPES)
def test_an_axis_survives_a_reshape_only_in_place(source: list[Dim], target: list[Dim]) -> None:
    bindings = {"B": 5, "S": 7}
    sizes, goal = ([d.evaluate(bindings) for d in shape] for shape in (source, target))
    total = torch.Size(sizes).numel()
    if total != torch.Size(goal).numel():
        return
    for axis, kept in enumerate(reshape_flow(tuple(source), tuple(target))):
        if kept is not None:
            index = torch.arange(sizes[axis]).reshape([-1 if i == axis else 1 for i in range(len(sizes))])
            moved = index.expand(sizes).reshape(goal).movedim(kept, 0)
            assert all((row == i).all() for i, row in enumerate(moved))


@pytest.mark.parametrize(
    ("op", "attributes", "problem"),
    [
        (ops.reshape, {"shape": (2, 13)}, r"i64\[2, 3, 4\] has 24 elements, \[2, 13\] has 26"),
        (ops.reshape, {"shape": (-2, -12)}, "an axis of length -2"),
        (ops.transpose, {"permutation": (0, 1)}, r"\[0, 1\] does not permute"),
        (ops.expand, {"shape": (2, 3, 5)}, "does not expand"),
        (ops.slice, {"axis": 3}, "axis 3 is outside"),
        (ops.slice, {"axis": 0, "step": 0}, "a step of 0"),
        (ops.split, {"axis": 2, "sizes": (1, 2)}, r"cannot be split along axis 2 into \[1, 2\]"),
        (ops.split, {"axis": 2, "sizes": (5, -1)}, "cannot be split"),
        (ops.split_heads, {"heads": 3}, "does not divide into 3 heads"),
        (ops.concat, {"axis": 9}, "axis 9 is outside"),
    ],
)
def test_attributes_that_do_not_fit(op: OpDef, attributes: dict[str, Attribute], problem: str) -> None:
    with pytest.raises(IRTypeError, match=problem):
        op.infer([tensor("i64", *X.shape)], op.complete(attributes))


def test_constants_must_fit_their_type() -> None:
    with pytest.raises(IRTypeError, match=r"constant: 1.5 is no i64"):
        evaluate(ops.constant, value=1.5, dtype=DType.I64)
    with pytest.raises(IRTypeError, match="attribute 'value' is \"a\", expected"):
        evaluate(ops.constant, value="a", dtype=DType.I64)


def test_parts_of_a_concat_must_agree() -> None:
    with pytest.raises(IRTypeError, match="differ in another axis than 1"):
        ops.concat.infer([tensor("f32", 2, 3), tensor("f32", 3, 3)], {"axis": 1})
    with pytest.raises(IRTypeError, match="nothing to concatenate"):
        ops.concat.infer([], {"axis": 0})


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (256, DType.U8),
        (-1, DType.U8),
        (8, DType.I4),
        (-9, DType.I4),
        (2, DType.BOOL),
        (0.5, DType.I64),
        (inf, DType.I64),
    ],
)
def test_integers_out_of_range(value: float, dtype: DType) -> None:
    with pytest.raises(IRTypeError, match=f"constant: {value} is no {dtype}"):
        ops.constant.infer([], {"value": value, "dtype": dtype, "shape": ()})


def test_floats_out_of_range_are_infinite() -> None:
    assert evaluate(ops.constant, value=-1e300, dtype=DType.F32).item() == float("-inf")
