"""Rotary embedding on IR text: by tables where there can be some, in primitives where not."""

from __future__ import annotations

import torch

from graphwright.ir import Interpreter, parse_program, print_graph
from graphwright.passes import parse_passes, run_passes
from tests.passes.graphs import body, random_inputs, random_weight

FREQUENCIES = random_weight("f", 8)
TURNED = """(%x: f32[B, S, 64], %p: i64[1, S]) {
  %h = split_heads(%x) {heads=4} : f32[B, 4, S, 16]
  %y = rope(%h, %p, @f) {interleaved=false, scale=1.5} : f32[B, 4, S, 16]  at layer
  return y=%y
}"""


def rotated(text: str, passes: str = "ort-rotary", facts: str = "{context_length=16}") -> tuple[str, list[str]]:
    """The text after the passes, and their near misses; the values stay what they were."""
    source = parse_program(f'program "test" {facts}\n{FREQUENCIES}\ngraph forward{text}\n')
    before = source.clone().graphs["forward"]
    report = run_passes(source, parse_passes(passes))
    after = source.graphs["forward"]
    inputs = random_inputs(before, {"B": 2, "S": 7})
    wanted, found = (Interpreter("float64").run(graph, inputs)["y"] for graph in (before, after))
    # Tables hold float32: half a unit of a cosine times 1.5, for two products of numbers up to 4.
    torch.testing.assert_close(found, wanted, rtol=0, atol=2 * 4 * 1.5 * 2.0**-24 + 1e-6)
    return print_graph(after), [str(m) for m in report.near_misses]


def test_rope_becomes_the_operator_over_tables() -> None:
    text, misses = rotated(TURNED)
    assert body(text) == ["expand", "onnx.rotary_embedding", "split_heads"]
    assert "@f.cos, @f.sin" in text
    assert not misses


def test_rope_without_a_table_stays_and_says_why() -> None:
    text, misses = rotated(TURNED, facts="")
    assert "rope" in body(text)
    assert misses == ["rotary-embedding at layer: the program does not say its context length"]
    computed = TURNED.replace("%p: i64[1, S])", "%p: i64[1, S], %g: f32[8])").replace("@f", "%g")
    text, misses = rotated(computed)
    assert "rope" in body(text)
    assert misses == ["rotary-embedding at layer: its frequencies are computed in the graph"]


def test_rope_that_stays_is_spelt_out() -> None:
    for text in (TURNED, TURNED.replace("interleaved=false", "interleaved=true")):
        spelt, misses = rotated(text, "ort-rotary,ort-decompose", facts="")
        assert {"cos", "sin"} <= set(body(spelt))
        assert "rope" not in body(spelt)
        assert misses[-1].startswith("decompose at layer: ")


def test_other_types_than_the_operators_stay() -> None:
    double = TURNED.replace("f32[B", "f64[B")
    text, misses = rotated(double)
    assert "rope" in body(text)
    assert misses == ["rotary-embedding at layer: ort takes no f64 in onnx.rotary_embedding"]
