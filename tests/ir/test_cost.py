from __future__ import annotations

from graphwright.ir import DType, ops, parse_program
from graphwright.ir.cost import graph_cost
from tests.ir.cases import Case


def test_attention_costs_two_products_and_a_softmax() -> None:
    op = Case(
        ops.attention,
        ("f32[B, 4, S, 8]", "f32[B, 2, P, 8]", "f32[B, 2, P, 6]", "i64[B, S]"),
        {"scale": 1.0, "mask": "causal"},
    ).build()
    cost = op.definition.price(op)
    assert str(cost.flops) == f"{4 * (2 * 8 + 2 * 6 + 5)}*B*P*S"
    assert str(cost.written) == f"{4 * 6 * 32}*B*S"
    assert str(cost.read) == f"{2 * (8 + 6) * 32}*B*P+{4 * 8 * 32 + 64}*B*S"


def test_a_product_costs_a_multiply_and_an_add_for_each_element_and_input() -> None:
    linear = Case(ops.linear, ("bf16[B, S, 16]", "bf16[5, 16]", "bf16[5]")).build()
    cost = linear.definition.price(linear)
    assert str(cost.flops) == f"{2 * 16 * 5}*B*S"
    assert str(cost.read) == f"{16 * 16}*B*S+{16 * (5 * 16 + 5)}"
    matmul = Case(ops.matmul, ("f32[B, S, 16]", "f32[B, 16, P]")).build()
    assert str(matmul.definition.price(matmul).flops) == "32*B*P*S"


def test_an_append_moves_the_new_tokens_only() -> None:
    op = Case(ops.kv_append, ("state<contiguous f16[B, 2, C, 8]>", "f16[B, 2, S, 8]", "i64[B]")).build()
    cost = op.definition.price(op)
    assert (str(cost.flops), str(cost.written), str(cost.read)) == ("0", "256*B*S", "256*B*S+64*B")


def test_an_embedding_reads_the_rows_it_picks() -> None:
    op = Case(ops.embedding, ("f32[50000, 4]", "i64[B, S]")).build()
    cost = op.definition.price(op)
    assert (str(cost.read), str(cost.written)) == (f"{4 * 32 + 64}*B*S", "128*B*S")


def test_moving_computes_nothing_and_views_are_free() -> None:
    moved = Case(ops.transpose, ("f32[B, 4]",), {"permutation": (1, 0)}).build()
    cost = moved.definition.price(moved)
    assert (str(cost.flops), str(cost.read), str(cost.launches)) == ("0", "128*B", "1")
    view = Case(ops.reshape, ("f32[B, 4]",), {"shape": (4, moved.operands[0].type.shape[0])}).build()
    assert str(view.definition.price(view).launches) == "0"


def test_a_graph_costs_the_sum_of_its_ops() -> None:
    program = parse_program(
        """program "p"
        graph forward(%x: f32[S, 4]) {
          %0 = exp(%x) : f32[S, 4]
          %1 = cast(%0) {dtype=bf16} : bf16[S, 4]
          return y=%1
        }"""
    )
    cost = graph_cost(program.graphs["forward"])
    assert DType.BF16.bits == 16
    assert (str(cost.flops), str(cost.read), str(cost.written), str(cost.launches)) == (
        "8*S",
        "256*S",
        f"{4 * 32 + 4 * 16}*S",
        "2",
    )
