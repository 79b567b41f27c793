"""Passes that say in the graph what moves and what does not: views in place of moves, and copies."""

from __future__ import annotations

import pytest

from graphwright.backends.tvm.library import CPU
from graphwright.ir import Graph, ops, print_graph
from graphwright.ir.dialects.cpu.memory import copy
from graphwright.ir.pricing.buffers import Buffers, memory
from graphwright.passes import parse_passes, run_passes
from graphwright.passes.lowering.cpu import cpu_lowering
from graphwright.passes.lowering.decoders import PHASES
from tests.backends.models import MODELS, decoder
from tests.passes.graphs import applied, body, program, random_weight
from tests.passes.kv_cache.test_ring_caches import OWN, SLIDING, two_layers
from tests.passes.lowering.cpu.test_passes import RING

TARGETS = {"cpu": CPU}
HEADS = """(%x: f32[B, 1, 12], %y: f32[B, S, 12], %z: f32[B, 4, 1, 3], %o: f32[B, 1, S, 3]) {
  %a = split_heads(%x) {heads=4} : f32[B, 4, 1, 3]
  %b = split_heads(%y) {heads=1} : f32[B, 1, S, 12]
  %c = merge_heads(%z) : f32[B, 1, 12]
  %d = merge_heads(%o) : f32[B, S, 3]
  return a=%a, b=%b, c=%c, d=%d
}"""
MANY = """(%y: f32[B, S, 12], %z: f32[B, 4, 2, 3], %o: f32[1, 4, S, 3]) {
  %a = split_heads(%y) {heads=4} : f32[B, 4, S, 3]
  %b = merge_heads(%z) : f32[B, 2, 12]
  %c = merge_heads(%o) : f32[1, S, 12]
  return a=%a, b=%b, c=%c
}"""


def test_heads_of_one_token_and_one_head_of_many_are_views() -> None:
    text, misses = applied(program(HEADS), *parse_passes("cpu-heads-as-views", TARGETS))
    assert body(text) == ["reshape"] * 4
    assert not misses
    text, misses = applied(program(MANY), *parse_passes("cpu-heads-as-views", TARGETS))
    assert body(text) == ["split_heads", "merge_heads", "merge_heads"]
    assert not misses


SHARED = """(%x: f32[B, 4], %k: state<contiguous f32[B, 1, 30, 8]>, %n: f32[B, 1, S, 8], %p: i64[B]) {
  %r = kv_read(%k) : f32[B, 1, 30, 8]  at layer
  %k2 = kv_append(%k, %n, %p) : state<contiguous f32[B, 1, 30, 8]>
  %r2 = kv_read(%k2) : f32[B, 1, 30, 8]
  %c = constant() {value=2.0, dtype=f32} : f32[]
  %a = neg(%x) : f32[B, 4]
  %v = reshape(%a) {shape=[B, 2, 2]} : f32[B, 2, 2]
  return x=%x, w=@w, r=%r, k=%k2, r2=%r2, c=%c, a=%a, v=%v, again=%a
}"""
OWNED = """(%x: f32[B, 4], %k: state<contiguous f32[B, 1, 30, 8]>, %n: f32[B, 1, S, 8], %p: i64[B]) {
  %k2 = kv_append(%k, %n, %p) : state<contiguous f32[B, 1, 30, 8]>
  %a = neg(%x) : f32[B, 4]
  %v = reshape(%a) {shape=[B, 2, 2]} : f32[B, 2, 2]
  %b = neg(%a) : f32[B, 4]
  return k=%k2, v=%v, b=%b
}"""


def test_outputs_get_memory_of_their_own_before_it_is_changed() -> None:
    text, misses = applied(program(SHARED, random_weight("w", 4)), *parse_passes("cpu-copies", TARGETS))
    # x and w at the beginning, what is read from a cache before the cache is appended to.
    expected = ["cpu.copy", "cpu.copy", "kv_read", "cpu.copy", "kv_append", "kv_read", "cpu.copy", "cpu.copy"]
    assert body(text) == [*expected, "neg", "cpu.copy", "reshape", "cpu.copy"]
    assert not misses
    kept = program(SHARED, random_weight("w", 4)).clone()
    run_passes(kept, parse_passes("cpu-copies", TARGETS))
    graph = kept.graphs["forward"]
    copied = {name for name, value in graph.outputs.items() if value.defined_by(copy) is not None}
    assert copied == {"x", "w", "r", "r2", "c", "v", "again"}
    assert_apart(graph)
    read = graph.outputs["r"].owner
    assert read is not None
    assert read.location == "layer"


def test_outputs_that_have_memory_of_their_own_stay() -> None:
    before = program(OWNED)
    text, _ = applied(before, *parse_passes("cpu-copies", TARGETS))
    assert text == print_graph(before.graphs["forward"])


@pytest.mark.parametrize("passes", ["cpu-copies", "cpu-rotary-append,cpu-copies"])
def test_a_ring_is_copied_once_and_then_changed_in_place(passes: str) -> None:
    lowered = program(RING)
    assert body(applied(lowered, *parse_passes(passes, TARGETS))[0]).count("cpu.copy") == 2
    run_passes(lowered, parse_passes(passes, TARGETS))
    graph = lowered.graphs["forward"]
    assert_apart(graph)
    # What came in and what goes out, both for keys and values, of one row.
    assert memory(Buffers(graph), {"B": 1, "S": 1}).cache == 4 * 2 * 8 * 4


def test_a_ring_that_is_appended_to_twice_is_copied_once() -> None:
    again = RING.replace(
        "  return q=%q, k=%k2, v=%v2",
        "  %k3 = kv_append(%k2, %d, %p, new_length=%r) : state<ring f32[B, 1, 2, 8]>\n  return q=%q, k=%k3, v=%v",
    )
    text, _ = applied(program(again), *parse_passes("cpu-copies", TARGETS))
    # The values' ring comes back as it came: as an output that is an input.
    assert body(text).count("cpu.copy") == 2


@pytest.mark.parametrize("name", ["llama", "unpacked", "gpt2", "chunked"])
def test_steps_of_decoders_need_no_copies(name: str) -> None:
    lowered = decoder(MODELS[name])
    run_passes(lowered, (*PHASES, *cpu_lowering(CPU)))
    for graph in lowered.graphs.values():
        assert "cpu.copy" not in {op.name for op in graph}
        assert_apart(graph)


def test_rings_of_a_decoder_are_copied_in_every_phase() -> None:
    lowered = two_layers(SLIDING, SLIDING, OWN)
    run_passes(
        lowered, (*parse_passes('insert-kv-cache{layout="ring"},select-logits,specialize'), *PHASES, *cpu_lowering(CPU))
    )
    assert len(lowered.graphs) == 3
    for graph in lowered.graphs.values():
        assert sum(op.name == "cpu.copy" for op in graph) == 3
        assert_apart(graph)
    assert ops.split_heads not in {op.definition for op in lowered.graphs["decode"]}


def assert_apart(graph: Graph) -> None:
    """Outputs lie apart from each other, and, but for caches that are changed in place, from what comes in."""
    buffers = Buffers(graph)
    lie = [buffers.first(value) for value in graph.outputs.values()]
    assert len(set(lie)) == len(lie)
    for value, first in zip(graph.outputs.values(), lie, strict=True):
        assert first.owner is not None or str(value.type).startswith("state<contiguous")


@pytest.mark.parametrize(("layout", "ring"), [("ring", 3), ("contiguous", 0)])
def test_attention_is_told_that_its_keys_are_a_ring(layout: str, ring: int) -> None:
    lowered = two_layers(SLIDING, SLIDING, OWN).clone()
    run_passes(lowered, parse_passes(f"insert-kv-cache{{layout={layout}}}, cpu-attention", TARGETS))
    told = [op.attributes["ring"] for op in lowered.graphs["prefill"] if op.name == "cpu.attention"]
    assert told == [ring, ring]
