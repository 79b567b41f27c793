from __future__ import annotations

import pytest

from graphwright.ir import DType, Op, ops
from graphwright.ir.targets import Capability, Target
from tests.ir.cases import Case


def heads_of_sixteen(op: Op) -> str | None:
    size = op.required("q").type.shape[3]
    fits = size.constant is not None and size.constant % 16 == 0
    return None if fits else f"head size {size} is not a multiple of 16"


FLOATS = frozenset({DType.F32, DType.F16})
TARGET = Target(
    "ort",
    (
        Capability(ops.add, FLOATS | {DType.I64}),
        Capability(ops.attention, FLOATS, heads_of_sixteen),
        Capability(ops.attention, frozenset({DType.F64})),
        Capability(ops.iota, frozenset({DType.I64})),
        Capability(ops.linear, FLOATS, quantized=True),
        Capability(ops.linear, frozenset({DType.F64})),
    ),
)


def attention(dtype: str, size: int) -> Op:
    q, k = f"{dtype}[B, 4, S, {size}]", f"{dtype}[B, 2, P, {size}]"
    return Case(ops.attention, (q, k, k, "i64[B, S]"), {"scale": 1.0, "mask": "causal"}).build()


@pytest.mark.parametrize(
    ("op", "refusal"),
    [
        (Case(ops.add, ("f32[2]", "f32[2]")).build(), None),
        (Case(ops.add, ("i64[2]", "i64[2]")).build(), None),
        (Case(ops.add, ("bf16[2]", "bf16[2]")).build(), "ort takes no bf16 in add"),
        (Case(ops.sub, ("f32[2]", "f32[2]")).build(), "ort has no sub"),
        (attention("f16", 32), None),
        (attention("f32", 8), "ort: head size 8 is not a multiple of 16"),
        (attention("f64", 8), None),
        (attention("bf16", 32), "ort takes no bf16 in attention"),
        (Case(ops.iota, (), {"size": 3, "dtype": DType.I64}).build(), None),
        (Case(ops.iota, (), {"size": 3, "dtype": DType.F32}).build(), "ort takes no f32 in iota"),
    ],
)
def test_a_table_says_what_it_takes_and_why_not(op: Op, refusal: str | None) -> None:
    assert TARGET.refusal(op) == refusal


def product(dtype: str, weight: str) -> Op:
    return Case(ops.linear, (f"{dtype}[B, 32]", weight)).build()


def test_the_first_row_that_an_op_fits_is_found() -> None:
    codes, numbers = TARGET.rows[-2:]
    assert TARGET.row_for(product("f32", "q4<g32, sym>[4, 32]")) is codes
    assert TARGET.row_for(product("f64", "f64[4, 32]")) is numbers
    assert TARGET.row_for(product("f32", "f32[4, 32]")) is None
    assert TARGET.refusal(product("f32", "f32[4, 32]")) == "ort takes no f32 in linear"
    assert TARGET.refusal(product("f64", "q4<g32, sym>[4, 32]")) == "ort takes no f64 in linear"


def test_a_table_without_rows_for_codes_says_so() -> None:
    codes, numbers = TARGET.rows[-2:]
    for row, weight, refusal in (
        (numbers, "q4<g32, sym>[4, 32]", "x takes no q4<g32, sym>[4, 32] in linear"),
        (codes, "f32[4, 32]", "x takes weights of codes alone in linear"),
    ):
        assert Target("x", (row,)).refusal(product("f32", weight)) == refusal


def test_whether_the_table_has_an_op_at_all() -> None:
    assert TARGET.accepts(ops.attention)
    assert not TARGET.accepts(ops.sub)
