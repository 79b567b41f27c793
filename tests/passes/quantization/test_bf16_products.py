"""Products in bf16: the graph before and after, what is left alone, and that the numbers are those of rounded ones."""

from __future__ import annotations

import torch

from graphwright.ir import Interpreter, parse_program, print_graph, print_program
from graphwright.passes import parse_passes, run_passes
from tests.passes.graphs import body, program, random_inputs, random_weight

TWO_LAYERS = """(%ids: i64[B], %x: f32[B, 6]) {
  %t = embedding(@w, %ids) : f32[B, 6]
  %a = add(%x, %t) : f32[B, 6]
  %y = linear(%a, @w) : f32[B, 4]  at first
  %z = linear(%a, @v, @b) : f32[B, 4]  at second
  return y=%y, z=%z
}"""
WEIGHTS = random_weight("w", 4, 6) + random_weight("v", 4, 6) + random_weight("b", 4)


def test_what_products_read_is_rounded_once_and_a_table_is_rounded_too() -> None:
    before = program(TWO_LAYERS, WEIGHTS)
    after = before.clone()
    (record,) = run_passes(after, parse_passes("bf16-products")).records
    assert record.lossy
    assert record.hits == {"bf16-products": 1}  # of a value that two layers read
    assert body(print_graph(after.graphs["forward"])) == ["embedding", "add", "cast", "cast", "linear", "linear"]
    assert after.weights.keys() == {"w.bf16", "v.bf16", "b"}
    assert print_program(parse_program(print_program(after))) == print_program(after)
    inputs = random_inputs(before.graphs["forward"], {"B": 3})
    found = Interpreter().run(after.graphs["forward"], inputs)
    w, v = (before.weights[name].evaluate().bfloat16().float() for name in "wv")
    a = (inputs["x"] + w[inputs["ids"]]).bfloat16().float()
    assert torch.equal(found["y"], torch.nn.functional.linear(a, w))
    assert torch.equal(found["z"], torch.nn.functional.linear(a, v, before.weights["b"].evaluate()))


def test_what_is_rounded_already_stays() -> None:
    once = program(TWO_LAYERS, WEIGHTS)
    run_passes(once, parse_passes("bf16-products"))
    twice = once.clone()
    (record,) = run_passes(twice, parse_passes("bf16-products")).records
    assert not record.changed
    assert print_program(twice) == print_program(once)


def test_other_types_and_codes_stay() -> None:
    wide = program(
        """(%x: f64[B, 6], %w: f32[4, 6], %z: f32[B, 6]) {
  %v = cast(@v) {dtype=f64} : f64[4, 6]
  %y = linear(%x, %v) : f64[B, 4]  at wide
  %u = linear(%z, %w) : f32[B, 4]  at computed
  return y=%y, u=%u
}""",
        random_weight("v", 4, 6),
    )
    text = print_program(wide)
    (record,) = run_passes(wide, parse_passes("bf16-products")).records
    assert print_program(wide) == text
    assert {miss.location: miss.reason for miss in record.near_misses} == {
        "wide": "it computes in f64",
        "computed": "its weight is computed",
    }
