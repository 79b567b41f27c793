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
        Capability(ops.attention, FLOATS, heads_of_sixteen, "GroupQueryAttention"),
        Capability(ops.attention, frozenset({DType.F64}), note="a plain product"),
        Capability(ops.iota, frozenset({DType.I64})),
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


def test_whether_the_table_has_an_op_at_all() -> None:
    assert TARGET.accepts(ops.attention)
    assert not TARGET.accepts(ops.sub)
