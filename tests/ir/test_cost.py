from __future__ import annotations

from collections.abc import Iterable

from graphwright.ir import Dim, DType, ops
from graphwright.ir.cost import Least, least
from tests.ir.cases import Case


def test_attention_costs_two_products_and_a_softmax() -> None:
    op = Case(
        ops.attention,
        ("f32[B, 4, S, 8]", "f32[B, 2, P, 8]", "f32[B, 2, P, 6]", "i64[B, S]"),
        {"scale": 1.0, "mask": "causal"},
    ).build()
    cost = op.definition.price(op)
    assert str(cost.flops) == f"{4 * (2 * 8 + 2 * 6 + 5)}*B*P*S"
    assert text(cost.writes) == [f"{4 * 6 * 32}*B*S"]
    assert text(cost.reads) == [f"{4 * 8 * 32}*B*S", f"{2 * 8 * 32}*B*P", f"{2 * 6 * 32}*B*P", "64*B*S"]


def test_a_product_costs_a_multiply_and_an_add_for_each_element_and_input() -> None:
    linear = Case(ops.linear, ("bf16[B, S, 16]", "bf16[5, 16]", "bf16[5]")).build()
    cost = linear.definition.price(linear)
    assert str(cost.flops) == f"{2 * 16 * 5}*B*S"
    assert text(cost.reads) == [f"{16 * 16}*B*S", str(16 * 5 * 16), str(16 * 5)]
    matmul = Case(ops.matmul, ("f32[B, S, 16]", "f32[B, 16, P]")).build()
    assert str(matmul.definition.price(matmul).flops) == "32*B*P*S"


def test_an_append_moves_the_new_tokens_only() -> None:
    op = Case(ops.kv_append, ("state<contiguous f16[B, 2, C, 8]>", "f16[B, 2, S, 8]", "i64[B]")).build()
    cost = op.definition.price(op)
    assert (str(cost.flops), text(cost.writes), text(cost.reads)) == ("0", ["256*B*S"], ["0", "256*B*S", "64*B"])


def test_a_ring_takes_no_more_tokens_than_it_has_places() -> None:
    op = Case(ops.kv_append, ("state<ring f16[B, 2, 3, 8]>", "f16[B, 2, S, 8]", "i64[B]", "i64[B]")).build()
    cost = op.definition.price(op)
    assert text(cost.writes) == ["min(256*B*S, 768*B)"]
    assert [cost.writes[0].evaluate({"B": 2, "S": s}) for s in (1, 3, 4)] == [512, 1536, 1536]


def test_an_embedding_reads_the_rows_it_picks() -> None:
    op = Case(ops.embedding, ("f32[50000, 4]", "i64[B, S]")).build()
    cost = op.definition.price(op)
    assert (text(cost.reads), text(cost.writes)) == (["128*B*S", "64*B*S"], ["128*B*S"])


def test_a_slice_reads_what_it_keeps() -> None:
    op = Case(ops.slice, ("f32[B, 40]",), {"axis": 1, "start": 2, "stop": 5}).build()
    assert text(op.definition.price(op).reads) == ["96*B"]


def test_experts_are_read_at_most_once_and_no_more_than_are_chosen() -> None:
    types = ("f32[S, 4]", "i64[S, 2]", "f32[S, 2]", "f32[8, 6, 4]", "f32[8, 4, 3]")
    op = Case(ops.moe_experts, types, {"kind": "silu", "gated": True}).build()
    gate_up = op.definition.price(op).reads[3]
    assert str(gate_up) == f"min({2 * 24 * 32}*S, {8 * 24 * 32})"
    assert [gate_up.evaluate({"S": s}) for s in (1, 4, 100)] == [2 * 24 * 32, 8 * 24 * 32, 8 * 24 * 32]


def test_of_quantized_experts_codes_and_scales_of_the_chosen_are_read() -> None:
    types = ("f32[S, 4]", "i64[S, 2]", "f32[S, 2]", "q4<g2, sym>[8, 6, 4]", "q8<channel, asym>[8, 4, 3]")
    op = Case(ops.moe_experts, types, {"kind": "silu", "gated": True}).build()
    *_, gate_up, down = op.definition.price(op).reads
    assert str(gate_up) == f"min({2 * 6 * (4 * 4 + 2 * 32)}*S, {8 * 6 * (4 * 4 + 2 * 32)})"
    assert str(down) == f"min({2 * 4 * (3 * 8 + 32 + 8)}*S, {8 * 4 * (3 * 8 + 32 + 8)})"


def test_the_lesser_of_two_sizes_is_one_of_them_where_it_is_known_which() -> None:
    s = Dim.of("S")
    assert least(s + 1, s) is s
    assert least(Dim.of(3), Dim.of(5)) == 3
    assert least(s, s * s) == Least(s, s * s)
    assert Least(s, Dim.of("P")).symbols == {"S", "P"}


def test_moving_computes_nothing_and_views_are_free() -> None:
    moved = Case(ops.transpose, ("f32[B, 4]",), {"permutation": (1, 0)}).build()
    cost = moved.definition.price(moved)
    assert (str(cost.flops), text(cost.reads), cost.launches) == ("0", ["128*B"], 1)
    view = Case(ops.reshape, ("f32[B, 4]",), {"shape": (4, Dim.of("B"))}).build()
    assert view.definition.price(view).launches == 0


def test_a_constant_is_computed_only_where_its_shape_depends_on_the_input() -> None:
    number = Case(ops.constant, (), {"value": 1.0, "dtype": DType.F32, "shape": (2, 3)}).build()
    assert number.definition.price(number).launches == 0
    filled = Case(ops.constant, (), {"value": 1.0, "dtype": DType.F32, "shape": (Dim.of("S"),)}).build()
    assert text(filled.definition.price(filled).writes) == ["32*S"]


def text(sizes: Iterable[object]) -> list[str]:
    return [str(size) for size in sizes]
