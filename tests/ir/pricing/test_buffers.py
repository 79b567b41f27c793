"""Peak memory, against sums done by hand."""

from __future__ import annotations

from graphwright.ir import Graph, parse_program
from graphwright.ir.pricing import Buffers, Memory, memory
from tests.ir.pricing.test_graph_cost import DECODER, SIZES


def graph(text: str) -> Graph:
    (found,) = parse_program(text).graphs.values()
    return found


def needed(text: str, **sizes: int) -> Memory:
    return memory(Buffers(graph(text)), sizes)


def test_a_value_takes_room_until_its_last_use() -> None:
    text = """program "p"
    graph forward(%x: f32[S]) {
      %0 = exp(%x) : f32[S]
      %1 = exp(%0) : f32[S]
      %2 = exp(%1) : f32[S]
      %3 = concat(%2, %2, %2) {axis=0} : f32[3*S]
      return y=%3
    }"""
    # The input is the caller's throughout; beside it at most one value and what is made of it.
    assert needed(text, S=5) == Memory(0, 4 * 5 * (1 + 1 + 3))


def test_a_view_keeps_its_operand_and_takes_nothing() -> None:
    text = """program "p"
    graph forward(%x: f32[S, 2]) {
      %0 = exp(%x) : f32[S, 2]
      %1 = reshape(%0) {shape=[2*S]} : f32[2*S]
      %2 = exp(%1) : f32[2*S]
      %3 = exp(%2) : f32[2*S]
      %4 = add(%3, %1) : f32[2*S]
      return y=%4
    }"""
    # At the third and at the last exp: input, viewed value, and two more.
    assert needed(text, S=3) == Memory(0, 4 * 6 * 4)


def test_a_cache_that_is_updated_in_place_counts_once() -> None:
    # Ids and lengths (8 bytes each), embedded rows, their sum and the logits; the cache apart.
    inputs = 6 * 8 + 2 * 8
    assert memory(Buffers(graph(DECODER)), SIZES) == Memory(2 * 10 * 4 * 2, inputs + 6 * 4 * 2)


def test_a_recurrent_state_is_not_updated_in_place() -> None:
    text = """program "p"
    graph prefill(%x: f32[B, S, 4], %past.0.state: state<recurrent f32[B, 4]>) {
      %0, %1 = running_sum(%x, %past.0.state) {axis=1} : f32[B, S, 4], state<recurrent f32[B, 4]>
      return y=%0, present.0.state=%1
    }"""
    assert needed(text, B=2, S=3) == Memory(2 * (2 * 4 * 4), 2 * (2 * 3 * 4 * 4))


def test_a_state_that_nobody_keeps_is_gone_at_once() -> None:
    text = """program "p"
    graph forward(%x: f32[B, S, 4]) {
      %0, %1 = running_sum(%x) {axis=1} : f32[B, S, 4], state<recurrent f32[B, 4]>
      %2 = exp(%0) : f32[B, S, 4]
      return y=%2
    }"""
    sequence, state = 2 * 3 * 4 * 4, 2 * 4 * 4
    assert needed(text, B=2, S=3) == Memory(0, max(2 * sequence + state, 3 * sequence))


def test_what_a_value_is_part_of() -> None:
    found = graph(DECODER)
    buffers = Buffers(found)
    ops = {op.name: op for op in found}
    assert buffers.part(ops["kv_read"].result) == "cache"
    assert buffers.first(ops["kv_read"].result) is found.input("past.0.key")
    assert buffers.part(ops["reshape"].result) == "activation"
    assert buffers.part(ops["linear"].required("weight")) == "weight"
