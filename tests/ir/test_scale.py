"""The 48-layer model of the benchmark: whole and right. How fast is the benchmark's business."""

from __future__ import annotations

import pytest

from benchmarks.ir_scale import LAYERS, RULES, captured
from graphwright.ir import parse_program, print_program, verify
from graphwright.ir.rewriting import rewrite


@pytest.mark.slow
def test_a_whole_model_is_recognized_and_survives_its_text() -> None:
    program = captured()
    graph = program.graphs["forward"]
    assert len(graph) > 2500
    verify(program)
    text = print_program(program)
    assert print_program(parse_program(text)) == text
    outcome = rewrite(program, graph, RULES)
    assert outcome.hits == {"rms-norm": 2 * LAYERS + 1, "rope": 2 * LAYERS, "glu": LAYERS}
    verify(program)
    left = {op.name for op in graph}
    assert not left & {"rsqrt", "mean", "concat", "neg", "activation"}
