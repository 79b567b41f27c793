"""What a weight's format costs in a decode step."""

from __future__ import annotations

import pytest

from graphwright.ir import DType
from graphwright.ir.machines import Machine, machine
from graphwright.passes.quantization.mixed_precision.formats import expression
from graphwright.passes.quantization.mixed_precision.task import decode_cost
from tests.passes.compression.model import language_model


def test_bytes_are_those_of_codes_and_scales() -> None:
    program = language_model()
    weight = program.weights["up"]  # [20, 8]
    assert decode_cost(program, weight, weight.expression, None) == 20 * 8 * 4
    assert decode_cost(program, weight, expression(weight, "i4-g0"), None) == 20 * (8 / 2 + 4)


def test_seconds_are_the_roofline_s() -> None:
    """Small weights take as long as a launch whatever their format; without launches what is read binds."""
    program = language_model()
    weight = program.weights["down"]  # [8, 20], without a bias
    forms = [weight.expression, expression(weight, "i8-g0")]
    assert [decode_cost(program, weight, form, machine("h100")) for form in forms] == [1.3e-6, 1.3e-6]
    slow = Machine("slow", {DType.F32: 1e15}, 1e3, 0.0, "made up")
    activations = (20 + 8) * 4
    expected = [(8 * 20 * 4 + activations) / 1e3, (8 * 20 + 8 * 4 + activations) / 1e3]
    assert [decode_cost(program, weight, form, slow) for form in forms] == pytest.approx(expected)
