"""Costs of graphs: alike ops are counted, and bytes are told apart by whose memory they lie in."""

from __future__ import annotations

import pytest

from graphwright.ir import DType, Graph, UserError, parse_program
from graphwright.ir.pricing import Work, graph_cost

DECODER = """program "tiny"
weight @table : bf16[8, 4] = file("w.safetensors", "table") : bf16[8, 4]
weight @head : bf16[8, 4] = file("w.safetensors", "head") : bf16[8, 4]
graph prefill(%input_ids: i64[B, S], %past_length: i64[B], %past.0.key: state<contiguous bf16[B, 1, C, 4]>) {
  %0 = embedding(@table, %input_ids) : bf16[B, S, 4]
  %1 = reshape(%0) {shape=[B, 1, S, 4]} : bf16[B, 1, S, 4]
  %2 = kv_append(%past.0.key, %1, %past_length) : state<contiguous bf16[B, 1, C, 4]>
  %3 = kv_read(%2) : bf16[B, 1, C, 4]
  %4 = sum(%3) {axes=[2], keepdims=false} : bf16[B, 1, 4]
  %5 = linear(%4, @head) : bf16[B, 1, 8]
  return logits=%5, present.0.key=%2
}
"""
SIZES = {"B": 2, "S": 3, "C": 10}


def graph(text: str) -> Graph:
    (found,) = parse_program(text).graphs.values()
    return found


def test_bytes_are_told_apart_by_what_holds_them() -> None:
    works = {work.op: work for work in graph_cost(graph(DECODER)).at(SIZES)}
    assert works == {
        # Rows of the table for six tokens; their ids; the rows again, written.
        "embedding": Work("embedding", DType.BF16, 1, 0, 6 * 64, 6 * 64 + 6 * 64, 0, 1),
        # New tokens, through a view, and two lengths are read; the cache is written only where the tokens go.
        "kv_append": Work("kv_append", DType.BF16, 1, 0, 0, 6 * 64 + 2 * 64, 6 * 64, 1),
        # What is read of a cache through a view is read of the cache.
        "sum": Work("sum", DType.BF16, 1, 80, 0, 2 * 64, 20 * 64, 1),
        "linear": Work("linear", DType.BF16, 1, 2 * 2 * 4 * 8, 8 * 64, 2 * 64 + 2 * 128, 0, 1),
    }


def test_alike_ops_are_counted_and_others_kept_apart() -> None:
    cost = graph_cost(
        graph(
            """program "p"
            graph forward(%x: f32[S, 4], %y: f32[4]) {
              %0 = exp(%x) : f32[S, 4]
              %1 = exp(%0) : f32[S, 4]
              %2 = exp(%y) : f32[4]
              %3 = reshape(%2) {shape=[1, 4]} : f32[1, 4]
              %4 = constant() {value=2.0, dtype=f32} : f32[]
              %5 = mul(%3, %4) : f32[1, 4]
              %6 = add(%1, %5) : f32[S, 4]
              %7 = cast(%6) {dtype=bf16} : bf16[S, 4]
              return y=%7
            }"""
        )
    )
    assert sorted((c.op, n) for c, n in cost.ops.items()) == [
        ("add", 1),
        ("cast", 1),
        ("exp", 1),
        ("exp", 2),
        ("mul", 1),
    ]
    assert (str(cost.flops), cost.launches, cost.symbols) == ("16*S+8", 6, {"S"})
    (twice,) = (w for w in cost.at({"S": 3}) if w.count == 2)
    assert twice == Work("exp", DType.F32, 2, 2 * 12, 0, 2 * 2 * 12 * 32, 0, 2)


def test_an_op_computes_in_the_type_of_its_first_floats() -> None:
    text = """program "p"
    graph forward(%c: bool[4], %x: bf16[4], %i: i64[4]) {
      %0 = where(%c, %x, %x) : bf16[4]
      %1 = cast(%0) {dtype=f32} : f32[4]
      %2 = add(%i, %i) : i64[4]
      return a=%1, b=%2
    }"""
    found = {work.op: work.dtype for work in graph_cost(graph(text)).at({})}
    assert found == {"where": DType.BF16, "cast": DType.BF16, "add": DType.I64}


def test_a_size_that_is_not_given_is_named() -> None:
    with pytest.raises(UserError, match="bind C"):
        graph_cost(graph(DECODER)).at({"B": 1, "S": 1})
