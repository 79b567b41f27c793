"""Faults of caches, states and the decode graph."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from benchmarks.mutations.altering import before, every, rebuilt, the
from benchmarks.mutations.fault import after, faults_of, in_place_of
from graphwright.ir import Builder, Dim, DType, Graph, Op, Program, Value, clone_graph, ops
from graphwright.ir.rewriting import Outcome
from graphwright.passes import Pass
from graphwright.passes.kv_cache import insert_kv_cache
from graphwright.passes.kv_cache.ring_caches import choose_rings


def _from_zero(build: Builder) -> Value:
    """Positions of the new tokens as if there were no past: i64 [1, S]."""
    sequence = Dim.of("S")
    return build(ops.reshape, build(ops.iota, size=sequence, dtype=DType.I64), shape=(1, sequence))


@after("insert-kv-cache", "qwen")
def rotation_ignores_the_past(program: Program) -> None:
    """Queries and keys of a layer are turned as if the new tokens were the first."""
    graph = program.graphs["prefill"]
    for op in every(graph, ops.rope, "layers.1.self_attn"):
        before(graph, op, "positions", lambda build, _: _from_zero(build))


@after("insert-kv-cache", "half")
def mask_ignores_the_past(program: Program) -> None:
    """The causal mask of a layer takes the new tokens for the first."""
    graph = program.graphs["prefill"]
    before(graph, the(graph, ops.attention, "layers.0.self_attn"), "positions", lambda build, _: _from_zero(build))


@after("insert-kv-cache", "gpt2")
def keys_end_one_early(program: Program) -> None:
    """The last new token is not among the keys."""
    graph = program.graphs["prefill"]
    op = the(graph, ops.attention, "h.1.attn")
    before(graph, op, "key_length", lambda build, length: build(ops.sub, length, 1))


@after("insert-kv-cache", "qwen")
def cache_written_one_place_on(program: Program) -> None:
    """Keys and values of a layer stand one place behind their positions."""
    graph = program.graphs["prefill"]
    for op in every(graph, ops.kv_append, "layers.1.self_attn"):
        before(graph, op, "past_length", lambda build, past: build(ops.add, past, 1))


@after("insert-kv-cache", "half")
def values_written_over_the_first(program: Program) -> None:
    """The values of a layer are always written to the beginning of their cache."""
    graph = program.graphs["prefill"]
    op = _append(graph, "past.1.value")
    before(graph, op, "past_length", lambda build, past: build(ops.mul, past, 0))


def _append(graph: Graph, name: str) -> Op:
    return next(o for o in every(graph, ops.kv_append) if o.required("cache").name == name)


@after("insert-kv-cache", "hybrid")
def keys_and_values_returned_crosswise(program: Program) -> None:
    """Keys are returned as values and values as keys."""
    outputs = program.graphs["prefill"].outputs
    outputs["present.2.key"], outputs["present.2.value"] = outputs["present.2.value"], outputs["present.2.key"]


@after("insert-kv-cache", "gemma")
def keys_cached_before_they_are_turned(program: Program) -> None:
    """Keys go into the cache without their rotation."""
    graph = program.graphs["prefill"]
    op = _append(graph, "past.1.key")
    rope = op.required("new").defined_by(ops.rope)
    assert rope is not None
    graph.set_operand(op, op.definition.operand_index("new"), rope.required("x"))


@after("insert-kv-cache", "gpt2")
def learned_positions_ignore_the_past(program: Program) -> None:
    """New tokens get the embeddings of the first positions."""
    graph = program.graphs["prefill"]
    op = next(o for o in every(graph, ops.embedding) if "wpe" in str(o.required("weight").name))
    shape = op.required("indices").type.shape

    def from_zero(build: Builder, _: Value) -> Value:
        sequence = Dim.of("S")
        row = build(ops.reshape, build(ops.iota, size=sequence, dtype=DType.I64), shape=(1, 1, sequence))
        return build(ops.expand, row, shape=shape)

    before(graph, op, "indices", from_zero)


@after("insert-kv-cache", "translator")
def relative_bias_ignores_the_past(program: Program) -> None:
    """The distance between query and key is taken from the beginning of the new tokens."""
    graph = program.graphs["prefill"]
    op = next(o for o in every(graph, ops.sub, "SelfAttention") if o.result.type.rank == 3)
    place = next(i for i, v in enumerate(op.inputs) if Dim.of("S") in v.type.shape)
    build = Builder(graph, op, op.location)
    batch, sequence, _ = op.inputs[place].type.shape
    row = build(ops.reshape, build(ops.iota, size=sequence, dtype=DType.I64), shape=(1, sequence, 1))
    graph.set_operand(op, place, build(ops.expand, row, shape=(batch, sequence, 1)))


@after("insert-kv-cache", "gemma")
def ring_read_one_token_late(program: Program) -> None:
    """The positions of a ring's places are those after the next token."""
    graph = program.graphs["prefill"]
    before(graph, the(graph, ops.ring_positions), "length", lambda build, length: build(ops.add, length, 1))


@after("insert-kv-cache", "gemma")
def ring_takes_padding(program: Program) -> None:
    """A ring takes all new tokens, padding too."""
    graph = program.graphs["prefill"]

    def all_new(build: Builder, length: Value) -> Value:
        count = build(ops.reshape, build(ops.dim_value, value=Dim.of("S")), shape=(1,))
        return build(ops.expand, count, shape=length.type.shape)

    for op in every(graph, ops.kv_append):
        if op.operand("new_length") is not None:
            before(graph, op, "new_length", all_new)


@in_place_of("insert-kv-cache", "gemma")
def ring_smaller_than_its_window(true: Pass, program: Program) -> Outcome:
    """A ring has a place less than its window needs."""

    def smaller(*args: Any) -> dict[Value, int]:
        return {value: size - 1 for value, size in choose_rings(*args).items()}

    with patch.object(insert_kv_cache, "choose_rings", smaller):
        return true.run(program)


@after("insert-kv-cache", "hybrid")
def state_not_returned(program: Program) -> None:
    """The recurrence returns the state that it was given."""
    graph = program.graphs["prefill"]
    graph.outputs["present.1.state"] = graph.input("past.1.state")


@after("insert-kv-cache", "hybrid")
def state_takes_padding(program: Program) -> None:
    """The recurrence goes on over padding."""
    graph = program.graphs["prefill"]
    rebuilt(graph, the(graph, ops.linear_recurrence), {"new_length": None})


@after("insert-kv-cache", "hybrid")
def convolution_forgets_the_past(program: Program) -> None:
    """The convolution begins with zeros each time."""
    graph = program.graphs["prefill"]
    rebuilt(graph, the(graph, ops.causal_conv), {"state": None})


@after("insert-kv-cache", "translator")
def cross_attention_sees_padding(program: Program) -> None:
    """A layer of the decoder sees the padding of a context."""
    graph = program.graphs["prefill"]
    rebuilt(graph, the(graph, ops.attention, "decoder.block.1.layer.1.EncDecAttention"), {"key_length": None})


@after("specialize", "qwen")
def decoded_token_does_not_see_itself(program: Program) -> None:
    """In decode, the keys of a layer end before the new token."""
    graph = program.graphs["decode"]
    op = the(graph, ops.attention, "layers.2.self_attn")
    rebuilt(graph, op, {"key_length": graph.input("past_length")})


@after("specialize", "half")
def decode_keeps_nothing(program: Program) -> None:
    """Decode returns a cache as it was before the token."""
    graph = program.graphs["decode"]
    graph.outputs["present.1.key"] = graph.input("past.1.key")


@in_place_of("specialize", "gpt2")
def decode_for_one_row(true: Pass, program: Program) -> Outcome:
    """Decode is specialized to a batch of one row, too."""
    outcome = true.run(program)
    program.graphs["decode"] = clone_graph(program.graphs["prefill"], "decode", {"S": 1, "B": 1})
    return outcome


@after("specialize", "hybrid")
def decode_forgets_its_state(program: Program) -> None:
    """In decode, the recurrence begins anew with each token."""
    graph = program.graphs["decode"]
    rebuilt(graph, the(graph, ops.linear_recurrence), {"state": None})


@after("insert-kv-cache", "half", harmless=True)
def keys_end_behind_the_padding(program: Program) -> None:
    """Keys reach to the end of the padding, which the causal mask hides from all real queries."""
    graph = program.graphs["prefill"]

    def padded(build: Builder, _: Value) -> Value:
        return build(ops.add, graph.input("past_length"), build(ops.dim_value, value=Dim.of("S")))

    before(graph, the(graph, ops.attention, "layers.0.self_attn"), "key_length", padded)


FAULTS = faults_of(globals())
