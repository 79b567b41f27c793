"""Rewriting with sound rules never changes what a graph computes."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphwright.ir import Builder, DType, Graph, Program, Value, ops, print_graph, run, tensor, verify
from graphwright.ir.rewriting import rewrite
from tests.ir.rewriting.rules import SOUND


def _norm(build: Builder, x: Value, weight: Value) -> Value:
    variance = build(ops.mean, build(ops.mul, x, x), axes=(-1,), keepdims=True)
    return build(ops.mul, build(ops.mul, build(ops.rsqrt, build(ops.add, variance, 0.01)), x), weight)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Program, Graph]:
    """Ops picked so that the rules fire often, nearly fire, share interior values and feed one another."""
    program, graph = Program(), Graph("g")
    program.add_graph(graph)
    build = Builder(graph)
    weight = graph.add_input("w", tensor("f32", 4))
    values = [graph.add_input(name, tensor("f32", "S", 4)) for name in ("x", "y")]
    for _ in range(draw(st.integers(1, 10))):
        x, y, z = (draw(st.sampled_from(values)) for _ in range(3))
        match draw(st.integers(0, 7)):
            case 0:
                values.append(_norm(build, x, weight))
            case 1:
                values.append(build(ops.sigmoid, x))
            case 2:
                values.append(build(ops.mul, x, build(ops.sigmoid, y)))
            case 3:
                values.append(build(ops.neg, x))
            case 4:
                left = build(ops.mul, *draw(st.permutations([x, y])))
                right = build(ops.mul, *draw(st.permutations([x, z])))
                values.append(build(ops.add, left, right))
            case 5:
                number = build.constant(draw(st.sampled_from([0.0, 1.0, 2.0])), DType.F32)
                values.append(build(draw(st.sampled_from([ops.mul, ops.add])), *draw(st.permutations([x, number]))))
            case 6:
                values.append(build(ops.add, x, y))
            case _:
                values.append(build(ops.mul, build(ops.activation, x, kind="silu"), y))
    graph.outputs = {f"o{i}": draw(st.sampled_from(values)) for i in range(draw(st.integers(1, 3)))}
    return program, graph


@settings(max_examples=250, deadline=None)
@given(graphs(), st.integers(0, 2**31))
def test_rewriting_keeps_the_value(drawn: tuple[Program, Graph], seed: int) -> None:
    program, graph = drawn
    generator = torch.Generator().manual_seed(seed)
    shapes = {"w": (4,), "x": (3, 4), "y": (3, 4)}
    inputs = {name: torch.randn(shape, generator=generator).clamp(-2, 2) for name, shape in shapes.items()}
    graph.erase_dead()
    before = run(graph, inputs, "float64")
    rewrite(program, graph, SOUND)
    verify(program)
    graph.erase_dead()
    after = run(graph, inputs, "float64")
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-9, atol=1e-9)
    # The fixpoint is one: a second rewrite finds nothing.
    text = print_graph(graph)
    assert not rewrite(program, graph, SOUND).changed
    assert print_graph(graph) == text
