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


MIXTURE = """
program "p"
weight @router : f32[3, 8] = data([{router}]) : f32[3, 8]
weight @gate_up : f32[3, 8, 8] = data([{gate_up}]) : f32[3, 8, 8]
weight @down : f32[3, 8, 4] = data([{down}]) : f32[3, 8, 4]
graph forward(%x: f32[S, 8]) {{
  %0 = linear(%x, @router) : f32[S, 3]  at router
  %1, %2 = topk(%0) {{k=2, axis=-1}} : f32[S, 2], i64[S, 2]
  %3 = moe_experts(%x, %2, %1, @gate_up, @down) {{kind="silu", gated=true}} : f32[S, 8]  at experts
  %4 = linear(%3, @router) : f32[S, 3]  at head
  return logits=%4
}}
"""


def mixture() -> Program:
    generator = torch.Generator().manual_seed(0)
    counts = {"router": 24, "gate_up": 192, "down": 96}
    numbers = {n: ", ".join(map(repr, listed(torch.randn(k, generator=generator)))) for n, k in counts.items()}
    return parse_program(MIXTURE.format(**numbers))


def test_experts_get_codes_in_groups_along_their_rows() -> None:
    before, after = mixture(), mixture()
    (record,) = run_passes(after, parse_passes("quantize-weights{to=i8, group=4, layers=body}")).records
    assert record.hits == {"quantize-weights": 2}
    text = print_program(after)
    assert "moe_experts(%x, %2, %1, @gate_up.quantized, @down.quantized)" in text
    assert "weight @gate_up.quantized : q8<g4, sym>[3, 8, 8]" in text
    assert "weight @down.quantized : q8<g4, sym>[3, 8, 4]" in text
    assert "linear(%3, @router)" in text
    assert print_program(parse_program(text)) == text
    x = {"x": torch.randn(5, 8, generator=torch.Generator().manual_seed(1))}
    a, b = (Interpreter("float64").run(p.graphs["forward"], x)["logits"] for p in (before, after))
    assert 0 < (a - b).abs().max() < 0.02 * a.abs().max()
    (again,) = run_passes(after, parse_passes("quantize-weights{group=4, layers=body}")).records
    assert not again.changed


def test_experts_are_not_the_head() -> None:
    after = mixture()
    run_passes(after, parse_passes("quantize-weights{group=4, layers=head}"))
    assert "moe_experts(%x, %2, %1, @gate_up, @down)" in print_program(after)


def test_what_is_quantized_is_left_alone() -> None:
    once = program()
    run_passes(once, parse_passes("quantize-weights{layers=body}"))
    (record,) = run_passes(once, parse_passes("quantize-weights{to=i2, layers=body}")).records
    assert not record.changed
