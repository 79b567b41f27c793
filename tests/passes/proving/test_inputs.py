"""Inputs that a graph's types and tables allow, with the cases in which mistakes show."""

from __future__ import annotations

import torch

from graphwright.passes.proving.inputs import as_declared, index_bound, random_input, smallest_rows
from tests.passes.graphs import program
from tests.tensors import listed, norm

TABLES = (
    "weight @large : f32[9, 2] = data([" + ", ".join(str(float(20 - i)) for i in range(18)) + "]) : f32[9, 2]\n"
    "weight @small : f32[5, 2] = data([" + ", ".join(str(float(i)) for i in range(10)) + "]) : f32[5, 2]\n"
)
LOOKUPS = """(%ids: i64[B, S], %mask: i64[B, S], %seen: bool[B, S], %x: bf16[B, S, 4]) {
  %flat = reshape(%ids) {shape=[B*S]} : i64[B*S]
  %a = embedding(@large, %ids) : f32[B, S, 2]
  %b = gather(@small, %flat) {axis=0} : f32[B*S, 2]
  %c = cast(%mask) {dtype=f32} : f32[B, S]
  return a=%a, b=%b, c=%c, d=%seen, e=%x
}"""


def test_indices_stay_inside_the_smallest_table_they_reach() -> None:
    graph = program(LOOKUPS, TABLES).graphs["forward"]
    assert index_bound(graph, graph.input("ids")) == 5
    assert index_bound(graph, graph.input("mask")) is None
    ids = random_input(graph, graph.input("ids"), {"B": 20, "S": 20}, torch.Generator().manual_seed(0))
    assert (int(ids.min()), int(ids.max()), ids.dtype) == (0, 4, torch.int64)


def test_indices_are_followed_through_every_move() -> None:
    text = """(%ids: i64[B, 4]) {
  %a, %b = split(%ids) {axis=1, sizes=[2, 2]} : i64[B, 2], i64[B, 2]
  %c = embedding(@large, %a) : f32[B, 2, 2]
  %d = embedding(@small, %b) : f32[B, 2, 2]
  return c=%c, d=%d
}"""
    graph = program(text, TABLES).graphs["forward"]
    assert index_bound(graph, graph.input("ids")) == 5


def test_what_picks_nothing_is_a_mask_of_padding_on_the_right() -> None:
    graph = program(LOOKUPS, TABLES).graphs["forward"]
    generator = torch.Generator()
    mask = random_input(graph, graph.input("mask"), {"B": 3, "S": 6}, generator)
    assert listed(mask) == [[1] * 6, [1] * 4 + [0] * 2, [1] * 2 + [0] * 4]
    assert random_input(graph, graph.input("seen"), {"B": 3, "S": 1}, generator).all()


def test_floats_have_near_zero_vectors_among_them_in_their_declared_type() -> None:
    graph = program(LOOKUPS, TABLES).graphs["forward"]
    x = random_input(graph, graph.input("x"), {"B": 3, "S": 6}, torch.Generator().manual_seed(0))
    assert x.dtype is torch.bfloat16
    lengths = norm(x.float(), dim=-1)
    assert lengths[:, -1].max() < 0.01 < lengths[:, :-1].min()
    wide = as_declared(program("(%x: f32[2]) {\n return y=%x\n}").graphs["forward"], {"x": torch.ones(2).bfloat16()})
    assert wide["x"].dtype is torch.float32


def test_the_smallest_rows_of_the_token_table() -> None:
    graph = program(LOOKUPS, TABLES).graphs["forward"]
    assert smallest_rows(graph, graph.input("ids"), 3) == [8, 7, 6]
    assert smallest_rows(graph, graph.input("mask"), 3) == []
