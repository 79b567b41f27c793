"""Round-to-nearest as a pass: what it replaces, what it leaves, and that what it says is what it does."""

from __future__ import annotations

import pytest
import torch

from graphwright.ir import Interpreter, PassError, Program, parse_program, print_program
from graphwright.passes import parse_passes, run_passes
from tests.tensors import listed

TEXT = """
program "p"
weight @table : f32[6, 8] = data([{table}]) : f32[6, 8]
weight @down : f32[8, 8] = data([{down}]) : f32[8, 8]
graph forward(%ids: i64[B, S]) {{
  %0 = embedding(@table, %ids) : f32[B, S, 8]
  %1 = linear(%0, @down) : f32[B, S, 8]  at model.down
  %2 = sigmoid(%1) : f32[B, S, 8]
  %3 = linear(%2, @table) : f32[B, S, 6]  at head
  return logits=%3
}}
"""


def program() -> Program:
    generator = torch.Generator().manual_seed(0)
    numbers = {
        n: ", ".join(map(repr, listed(torch.randn(k * 8, generator=generator)))) for n, k in (("table", 6), ("down", 8))
    }
    return parse_program(TEXT.format(**numbers))


def test_every_layer_gets_codes_and_the_embedding_keeps_its_table() -> None:
    before, after = program(), program()
    (record,) = run_passes(after, parse_passes("quantize-weights{to=u4, group=4}")).records
    assert record.lossy
    assert record.hits == {"quantize-weights": 2}
    text = print_program(after)
    assert "%1 = linear(%0, @down.quantized) : f32[B, S, 8]" in text
    assert "%3 = linear(%2, @table.quantized) : f32[B, S, 6]" in text
    assert "embedding(@table, %ids)" in text
    assert "weight @down.quantized : q4<g4, asym>[8, 8]" in text
    assert print_program(parse_program(text)) == text
    ids = {"ids": torch.arange(6)[None]}
    a, b = (Interpreter("float64").run(p.graphs["forward"], ids)["logits"] for p in (before, after))
    assert 0 < (a - b).abs().max() < 0.5


def test_minimums_are_asked_for_by_an_option_and_of_unsigned_codes_alone() -> None:
    after = program()
    run_passes(after, parse_passes("quantize-weights{to=u4, group=4, minimum=true, scale=f16}"))
    text = print_program(after)
    assert "weight @down.quantized : q4<g4, min, scale=f16>[8, 8]" in text
    assert print_program(parse_program(text)) == text
    with pytest.raises(PassError, match=r"minimum=true is for unsigned codes, as in to=u4, not for i4"):
        run_passes(program(), parse_passes("quantize-weights{to=i4, minimum=true}"))


def test_head_and_body_are_chosen_apart() -> None:
    for layers, kept in (("head", "@down"), ("body", "@table")):
        each = program()
        run_passes(each, parse_passes(f"quantize-weights{{layers={layers}}}"))
        linear = [op.required("weight").name for op in each.graphs["forward"] if op.name == "linear"]
        assert kept.removeprefix("@") in linear
        assert sum(str(name).endswith(".quantized") for name in linear) == 1


def test_what_is_quantized_is_left_alone() -> None:
    once = program()
    run_passes(once, parse_passes("quantize-weights{layers=body}"))
    (record,) = run_passes(once, parse_passes("quantize-weights{to=i2, layers=body}")).records
    assert not record.changed
