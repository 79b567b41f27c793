"""What a weight loses, measured and predicted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from graphwright.ir import PassError, parse_program
from graphwright.passes.compression.weights import chosen_weights
from graphwright.passes.quantization.mixed_precision.divergence import Reference, as_floats
from graphwright.passes.quantization.mixed_precision.formats import expression
from graphwright.passes.quantization.mixed_precision.sensitivity import losses, output_errors
from graphwright.passes.quantization.weights import replace_linear_weight
from tests.passes.compression.model import language_model, logits, token_file, tokens_in


def by_hand(name: str, format: str, tokens: torch.Tensor) -> float:
    """The mean divergence with one weight rounded, by whole runs of two programs."""
    before, after = language_model(), language_model()
    graph = after.graphs["prefill"]
    rounded = after.add_weight("rounded", expression(after.weights[name], format))
    for op in graph:
        if op.name == "linear" and op.required("weight").name == name:
            graph.set_operand(op, 1, graph.weight(rounded))
    p, q = (logits(program, tokens).log_softmax(-1) for program in (before, after))
    return float((p.exp() * (p - q)).sum(-1).mean())


def test_divergences_are_those_of_whole_runs(tmp_path: Path) -> None:
    tokens = tokens_in(token_file(tmp_path, rows=11))  # more than one batch, the last one short
    program = language_model()
    reference = Reference(program, tokens)
    altered = {program.weights[name]: expression(program.weights[name], "i3-g0") for name in ("up", "down", "table")}
    found = {weight.name: divergence for weight, divergence in reference.divergences(altered)}
    assert list(found) == ["up", "down", "table"]
    for name, divergence in found.items():
        assert divergence == pytest.approx(by_hand(name, "i3-g0", tokens), rel=1e-4)  # logits in float32, of size 10
    both = language_model()
    for name in ("up", "table"):
        replace_linear_weight(both, both.weights[name], "rounded", expression(both.weights[name], "i3-g0"))
    p, q = (logits(each, tokens).log_softmax(-1) for each in (program, both))
    expected = float((p.exp() * (p - q)).sum(-1).mean())
    assert reference.divergence(both) == pytest.approx(expected, rel=1e-4)
    assert reference.divergence(program) == 0


def test_one_format_is_measured_and_the_others_go_by_the_error_of_the_output(tmp_path: Path) -> None:
    tokens = tokens_in(token_file(tmp_path))
    program = language_model()
    formats = ("float", "i8-g0", "i4-g0", "i3-g0")
    chosen = chosen_weights(program, "all")
    predicted = losses(program, tokens, chosen, formats, Reference(program, tokens))
    errors = output_errors(program, tokens, chosen, formats)
    for name in ("up", "down", "table"):
        assert predicted[name]["float"] == errors[name]["float"] == 0
        assert predicted[name]["i4-g0"] == pytest.approx(by_hand(name, "i4-g0", tokens), rel=1e-4)
        for format in formats:
            scale = predicted[name]["i4-g0"] / errors[name]["i4-g0"]
            assert predicted[name][format] == pytest.approx(errors[name][format] * scale)


def test_the_error_of_the_output_is_that_of_the_program(tmp_path: Path) -> None:
    tokens = tokens_in(token_file(tmp_path))
    program = language_model()
    weight = program.weights["up"]
    x = program.weights["table"].evaluate()[tokens].double()
    change = as_floats(expression(weight, "i4-g0")).double() - weight.evaluate().double()
    expected = float((x @ change.T).square().sum(-1).mean())
    found = output_errors(program, tokens, chosen_weights(program, "body"), ("i4-g0",))["up"]["i4-g0"]
    assert found == pytest.approx(expected, rel=1e-5)  # the second moment is summed in float32


def test_a_program_without_logits_is_refused(tmp_path: Path) -> None:
    text = 'program "p"\ngraph forward(%input_ids: i64[B, S]) {\n  return ids=%input_ids\n}\n'
    with pytest.raises(PassError, match=r"^program 'p' makes no logits"):
        Reference(parse_program(text), tokens_in(token_file(tmp_path)))
