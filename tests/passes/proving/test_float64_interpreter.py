"""Evaluation for proofs: constants as declared, everything else in float64, with or without noise."""

from __future__ import annotations

import torch

from graphwright.ir import Program
from graphwright.passes.proving.float64_interpreter import FLOAT32, Float64Interpreter, NoisyInterpreter
from tests.passes.graphs import program

SUM_OF_FLOAT32 = """(%x: f32[S, 4]) {
  %third = constant() {value=0.333333333333, dtype=bf16, shape=[4]} : bf16[4]
  %w = add(@w, %third) : bf16[4]
  %wide = cast(%w) {dtype=f32} : f32[4]
  %y = mul(%x, %wide) : f32[S, 4]
  return y=%y
}"""
W = "weight @w : bf16[4] = data([1.0, 2.0, 3.0, 4.0]) : bf16[4]\n"


def run(interpreter: Float64Interpreter, subject: Program, x: torch.Tensor) -> torch.Tensor:
    return interpreter.run(subject.graphs["forward"], {"x": x})["y"]


def test_what_constants_alone_determine_is_rounded_as_a_pass_that_folds_it_would() -> None:
    folded = (torch.arange(1, 5).bfloat16().float() + torch.tensor(0.333333333333).bfloat16().float()).bfloat16()
    found = run(Float64Interpreter(), program(SUM_OF_FLOAT32, W), torch.ones(2, 4))
    assert found.dtype is torch.float64
    assert torch.equal(found, folded.double().expand(2, 4))


def test_the_rest_is_not_rounded() -> None:
    subject = program("(%x: bf16[S, 4]) {\n %y = add(%x, %x) : bf16[S, 4]\n return y=%y\n}")
    x = torch.full((1, 4), 1 + 2.0**-30, dtype=torch.float64)
    assert torch.equal(run(Float64Interpreter(), subject, x), 2 * x)


def test_noise_is_one_unit_of_float32_for_an_op_and_none_for_moving_or_for_constants() -> None:
    moved = program("(%x: f32[S, 4]) {\n %y = transpose(%x) {permutation=[1, 0]} : f32[4, S]\n return y=%y\n}")
    x = torch.rand(50, 4) + 1
    assert torch.equal(run(NoisyInterpreter(0), moved, x), x.double().T)
    subject = program(SUM_OF_FLOAT32, W)
    right, noisy = run(Float64Interpreter(), subject, x), run(NoisyInterpreter(0), subject, x)
    relative = ((noisy - right) / right).abs().max()
    # Two hundred uniform numbers: the largest is above nine tenths of the unit but for a chance of 1e-9.
    assert 0.9 * FLOAT32 < relative <= FLOAT32 * (1 + 1e-6)
    assert torch.equal(noisy, run(NoisyInterpreter(0), subject, x))
    assert not torch.equal(noisy, run(NoisyInterpreter(1), subject, x))


def test_noise_of_sums_grows_with_the_root_of_their_length() -> None:
    product = program(
        "(%x: f32[S, 64]) {\n %y = linear(%x, @w) : f32[S, 2]\n return y=%y\n}",
        "weight @w : f32[2, 64] = data([" + ", ".join(["1.0"] * 128) + "]) : f32[2, 64]\n",
    )
    right, noisy = (
        run(each, product, torch.ones(200, 64)) for each in (Float64Interpreter(), NoisyInterpreter(0, FLOAT32))
    )
    unit = FLOAT32 * (1 + 128**0.5)  # 64 products and 64 sums
    assert 0.9 * unit < ((noisy - right) / right).abs().max() <= unit * (1 + 1e-6)


def test_a_fresh_one_keeps_weights_but_not_what_graphs_made_of_them() -> None:
    subject = program(SUM_OF_FLOAT32, W)
    interpreter = Float64Interpreter()
    run(interpreter, subject, torch.ones(1, 4))
    other = interpreter.fresh()
    assert other._weights is interpreter._weights
    assert not other._constant
