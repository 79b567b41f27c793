"""Faults of rotary embeddings."""

from __future__ import annotations

from benchmarks.mutations.altering import before, bypass, every, rebuilt, size, the, transformed, with_values
from benchmarks.mutations.fault import after, faults_of
from graphwright.ir import Program, ops


@after("raise-rotary", "qwen")
def halves_taken_for_neighbours(program: Program) -> None:
    """The last layer turns neighbouring elements instead of those half a head apart."""
    graph = program.graphs["forward"]
    for op in every(graph, ops.rope, "layers.2.self_attn"):
        rebuilt(graph, op, interleaved=True)


@after("raise-rotary", "half")
def turned_backwards(program: Program) -> None:
    """All rotations have the wrong sign."""
    graph = program.graphs["forward"]
    for op in every(graph, ops.rope):
        rebuilt(graph, op, {"frequencies": transformed(program, graph, op.required("frequencies"), ops.neg)})


@after("raise-rotary", "gemma")
def queries_not_turned(program: Program) -> None:
    """A layer turns its keys only."""
    graph = program.graphs["forward"]
    rope = the(graph, ops.attention, "layers.1.self_attn").required("q").defined_by(ops.rope)
    assert rope is not None
    bypass(graph, rope)


@after("raise-rotary", "half")
def lowest_frequency_taken_for_zero(program: Program) -> None:
    """The slowest pair does not turn: at the positions that were looked at, it hardly moved."""
    graph = program.graphs["forward"]
    for op in every(graph, ops.rope, "layers.0.self_attn"):
        other = with_values(program, graph, op.required("frequencies"), lambda f: f * (f > f.min()))
        rebuilt(graph, op, {"frequencies": other})


@after("raise-rotary", "qwen")
def half_of_the_pairs(program: Program) -> None:
    """A layer turns the first half of each head only."""
    graph = program.graphs["forward"]
    for op in every(graph, ops.rope, "layers.0.self_attn"):
        first = transformed(program, graph, op.required("frequencies"), ops.slice, axis=0, stop=4)
        rebuilt(graph, op, {"frequencies": first})


@after("raise-rotary", "deepseek")
def scale_of_the_rotation(program: Program) -> None:
    """Turned queries are a little longer than they were."""
    graph = program.graphs["forward"]
    op = next(o for o in every(graph, ops.rope, "layers.1.self_attn") if size(o.result, 1) == 4)
    rebuilt(graph, op, scale=1.01)


@after("raise-rotary", "deepseek")
def order_of_elements_forgotten(program: Program) -> None:
    """The keys are turned without being put into the order that the rotation wants."""
    graph = program.graphs["forward"]
    op = next(o for o in every(graph, ops.rope, "layers.0.self_attn") if size(o.result, 1) == 1)
    gather = op.required("x").defined_by(ops.gather)
    assert gather is not None
    bypass(graph, gather)


@after("raise-rotary", "gemma")
def keys_counted_from_one(program: Program) -> None:
    """Keys are turned by the position of the next token."""
    graph = program.graphs["forward"]
    op = the(graph, ops.attention, "layers.0.self_attn").required("k").owner
    assert op is not None
    before(graph, op, "positions", lambda build, p: build(ops.add, p, 1))


@after("raise-rotary", "hybrid", harmless=True)
def all_counted_from_one(program: Program) -> None:
    """Queries and keys are turned by the position of the next token: what counts is their distance."""
    graph = program.graphs["forward"]
    for op in every(graph, ops.rope):
        before(graph, op, "positions", lambda build, p: build(ops.add, p, 1))


FAULTS = faults_of(globals())
