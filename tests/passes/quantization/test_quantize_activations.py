"""Activations in few bits: one op for each value that layers with quantized weights read."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import torch

from graphwright.ir import PassError, StoredArray, parse_program, print_program
from graphwright.passes import parse_passes, run_passes
from graphwright.passes.calibration import calibrate
from tests.passes.calibration.models import tokens, wide_blocks

SHARED = """
program "p"
weight @a : f32[4, 4] = file("a.safetensors", "a") : f32[4, 4]
graph forward(%x: f32[S, 4]) {
  %0 = linear(%x, @a) : f32[S, 4]  at q
  %1 = linear(%x, @a) : f32[S, 4]  at k
  %2 = add(%0, %1) : f32[S, 4]
  %3 = exp(%x) : f32[S, 4]
  %4 = add(%2, %3) : f32[S, 4]
  return y=%4
}
"""


def test_layers_that_read_one_value_share_its_rounding_and_others_keep_it() -> None:
    program = parse_program(SHARED)
    program.weights["a"].expression = StoredArray.of(torch.eye(4))
    passes = parse_passes("quantize-weights{to=i8, group=0}, quantize-activations{group=2}")
    report = run_passes(program, passes)
    assert report.records[1].lossy
    text = print_program(program)
    assert text.count("fake_quantize(%x) {to=i8, group=2}") == 1
    assert "linear(%0, @a.quantized) : f32[S, 4]  at q" in text
    assert "linear(%0, @a.quantized) : f32[S, 4]  at k" in text
    assert "exp(%x)" in text
    (again,) = run_passes(program, parse_passes("quantize-activations{group=2}")).records
    assert not again.changed


def test_layers_with_float_weights_are_left_alone() -> None:
    program = wide_blocks(1, 8, 24)
    run_passes(program, parse_passes("quantize-weights{layers=body}, quantize-activations"))
    rounded = [op.location for op in program.graphs["forward"] if op.name == "fake_quantize"]
    assert rounded == ["block.0.up", "block.0.down"]
    program = wide_blocks(1, 8, 24)
    run_passes(program, parse_passes("quantize-weights, quantize-activations{layers=head}"))
    assert [op.location for op in program.graphs["forward"] if op.name == "fake_quantize"] == ["head"]


EXPERTS = """
program "p"
weight @up : f32[2, 4, 4] = file("a.safetensors", "a") : f32[2, 4, 4]
weight @down : f32[2, 4, 4] = file("a.safetensors", "a") : f32[2, 4, 4]
graph forward(%x: f32[S, 4], %i: i64[S, 1], %w: f32[S, 1]) {
  %0 = moe_experts(%x, %i, %w, @up, @down) {kind="relu", gated=false} : f32[S, 4]  at experts
  return y=%0
}
"""


def test_experts_read_activations_as_they_are_which_is_told() -> None:
    program = parse_program(EXPERTS)
    for weight in program.weights.values():
        weight.expression = StoredArray.of(torch.ones(2, 4, 4))
    passes = parse_passes("quantize-activations, quantize-weights{group=2}, quantize-activations{group=2, layers=head}")
    assert not any(record.near_misses for record in run_passes(program, passes).records)
    (record,) = run_passes(program, parse_passes("quantize-activations{group=2}")).records
    assert not record.changed
    assert [str(miss) for miss in record.near_misses] == [
        "quantize-activations at experts: experts read activations as they are: linear layers alone round theirs"
    ]


def test_static_scales_take_the_largest_of_the_calibration_tokens(tmp_path: Path) -> None:
    numpy.save(tmp_path / "tokens.npy", tokens(8, 16).numpy())
    program = wide_blocks(2, 8, 24)
    run_passes(program, parse_passes("quantize-weights{to=f8e4m3, group=0}"))
    largest = [float(s.largest.max()) for _, s in calibrate(program, tokens(8, 16), lambda _: True)]
    run_passes(program, parse_passes(f'quantize-activations{{to=f8e4m3, tokens="{tmp_path / "tokens.npy"}"}}'))
    rounded = [op for op in program.graphs["forward"] if op.name == "fake_quantize"]
    scales = [op.required("scale").weight for op in rounded]
    assert [s.name for s in scales if s] == [
        *(f"{part}.{i}.input_scale" for i in range(2) for part in ("up", "down")),
        "table.input_scale",
    ]
    found = torch.stack([s.evaluate() for s in scales if s])
    assert torch.equal(found, torch.tensor([m / 448 for m in largest]))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("group=-1", r"groups of -1, expected 0 \(one scale a token\) or more"),
        ('group=8, tokens="t.npy"', "groups of 8, expected 0 with static scales"),
    ],
)
def test_groups_that_cannot_be_are_refused(options: str, problem: str) -> None:
    with pytest.raises(PassError, match=problem):
        run_passes(wide_blocks(1, 8, 24), parse_passes(f"quantize-activations{{{options}}}"))
