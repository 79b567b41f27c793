"""Quantization by the public face: a smaller program, an honest report, and refusals before any work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import graphwright
from graphwright.errors import UsageError
from graphwright.evaluating.interpreter_language import InterpreterLanguageModel, sample_rows
from graphwright.ir import PassError, Program, print_program
from graphwright.ir.types import QuantizedType
from graphwright.quantizing.calibration import Calibration, write_tokens
from graphwright.quantizing.quantization import Quantization
from graphwright.quantizing.quantization_report import cache_bits, weight_bytes
from graphwright.runtime.errors import DataError
from tests.graphwright import models

SCHEME = "w4a16-g32-rtn+embedding=none"


@pytest.fixture(scope="module")
def program(checkpoint: Path) -> Program:
    return graphwright.optimize(graphwright.trace(checkpoint), "cpu")[0]


def test_a_quantized_program_is_smaller_and_says_what_that_cost(checkpoint: Path, program: Program) -> None:
    stages: list[str] = []
    quantized, report = graphwright.quantize(checkpoint, SCHEME, on_stage=stages.append)
    assert (report.bytes_before, report.bytes_after) == (weight_bytes(program), weight_bytes(quantized))
    # Of each weight of a linear layer 32 bits become 4, and each group has a scale.
    types = [w.type for w in quantized.weights.values() if isinstance(w.type, QuantizedType)]
    assert report.bytes_before - report.bytes_after == sum(
        type.elements.evaluate({}) * 28 // 8 - type.groups.evaluate({}) * 4 for type in types
    )
    (step,) = report.steps
    assert step.name == 'quantize-weights{group=32, method="absmax"}'
    assert step.lossy
    assert report.kl == step.kl
    assert step.kl is not None
    assert 0 < step.kl < 1
    assert report.cache_bits_before == report.cache_bits_after == cache_bits(program)
    meter, prefill = report.notes
    assert meter == "KL: mean over 256 tokens that the model itself wrote, in nats a token"
    assert prefill.startswith("prefill multiplies packed weights, as decode does")
    assert {"capture", "quantize", "write text", "measure divergence"} < set(stages)
    assert not report.refused


def test_a_divergence_need_not_be_measured(program: Program) -> None:
    _, report = graphwright.quantize(program, SCHEME, measure=False)
    assert report.kl is None
    assert not any("KL" in note for note in report.notes)


def test_head_and_body_are_steps_of_their_own(program: Program) -> None:
    quantized, report = graphwright.quantize(program, "w4a16-g32+head=w8+embedding=none", measure=False)
    body, head = report.steps
    assert 'layers="body"' in body.name
    assert 'layers="head"' in head.name
    assert body.bytes_after == head.bytes_before
    assert head.bytes_after < head.bytes_before
    text = print_program(quantized)
    assert ": q4<g32, sym>[" in text
    assert ": q8<g128, asym>[" in text


def test_the_program_given_is_left_as_it_is(program: Program) -> None:
    before = print_program(program)
    graphwright.quantize(program, SCHEME, measure=False)
    assert print_program(program) == before


def test_what_writes_no_text_is_quantized_without_a_measure() -> None:
    layer = torch.nn.Linear(32, 8)
    layer.requires_grad_(False)
    traced = graphwright.trace(layer, example_inputs=torch.zeros(2, 32))
    _, report = graphwright.quantize(traced, "w8+head=none")
    assert report.kl is None
    assert report.notes[0].startswith("KL is not measured: program 'Linear' cannot be calibrated")


@pytest.mark.parametrize(
    ("quantization", "message"),
    [
        (Quantization("w4a16-g32-gptq"), "w4a16-g32-gptq looks at what the model computes: give calibration"),
        (Quantization("mixed", "self"), "mixed precision needs a budget"),
        (Quantization("mixed", "self", max_kl=0.1, bits=4), "give max_kl or bits, not both"),
        (Quantization("mixed", "self", bits=0), "must be greater than 0"),
        (Quantization("mixed", "self", max_kl=float("nan")), "must be greater than 0"),
        (Quantization("w4", bits=4.5), "the scheme is mixed, not w4"),
        (Quantization("w4-gptq", "nowhere.txt"), "nowhere.txt is not a file: calibration is a text"),
        (Quantization("w4-gptq", "self", calibration_rows=0), "calibration_rows is 0: must be at least 1"),
        (Quantization("w4-gptq", "self", calibration_length=1), "calibration_length is 1: must be at least 2"),
        (Quantization("w4", calibration_rows=3), "calibration rows are given without calibration tokens"),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_work(quantization: Quantization, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        graphwright.quantize("no such model", quantization)


def test_a_scheme_that_does_not_exist_is_refused_before_any_work() -> None:
    with pytest.raises(PassError, match="there is no scheme 'w4a17'"):
        graphwright.quantize("no such model", scheme="w4a17")
    with pytest.raises(PassError, match="there is no scheme 'w4a17'"):
        graphwright.compile("no such model", quantize="w4a17")
    with pytest.raises(UsageError, match=r"calibration: this is for quantization; name a scheme"):
        graphwright.compile("no such model", calibration="self")
    with pytest.raises(UsageError, match="says what to do already: leave out calibration"):
        graphwright.export("no such model", "out", quantize=Quantization("w8"), calibration="self")


def test_a_model_writes_text_from_its_own_distribution(program: Program) -> None:
    language = InterpreterLanguageModel(program)
    rows = sample_rows(language, 3, 12, seed=5)
    assert rows.shape == (3, 12)
    assert (rows[:, 0] == 1).all()
    assert (sample_rows(language, 3, 12, seed=5) == rows).all()
    assert (sample_rows(language, 3, 12, seed=6) != rows).any()
    # Where a text ends (2), another begins (1).
    long = sample_rows(language, 32, 48, seed=0)
    assert (long[:, 1:][long[:, :-1] == 2] == 1).all()
    assert (long == 2).any()


def test_calibration_text_becomes_rows(checkpoint: Path, program: Program, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 20)
    assert Calibration(text).read(program, checkpoint).shape[1] == 64
    rows = Calibration(text, rows=3, length=16).read(program, checkpoint)
    assert rows.shape == (3, 16)
    assert (np.load(write_tokens(rows, tmp_path / "work")) == rows).all()
    assert Calibration(rows, rows=2).read(program, None).tolist() == rows[:2].tolist()
    with pytest.raises(UsageError, match=r"is too short for calibration: it has \d+ rows of 16 tokens, of 999"):
        Calibration(text, rows=999, length=16).read(program, checkpoint)
    with pytest.raises(UsageError, match="calibration rows of 65 tokens exceed the context of 64"):
        Calibration(text, length=65).read(program, checkpoint)
    text.write_text("short")
    with pytest.raises(DataError, match="too few for a row of 64"):
        Calibration(text, length=64).read(program, checkpoint)
    with pytest.raises(DataError, match=r"is a text, and the model has no tokenizer\.json"):
        Calibration(text).read(program, None)


def test_a_program_without_a_cache_writes_no_text() -> None:
    traced = graphwright.trace(models.Own().eval())
    with pytest.raises(UsageError, match="has no cache to write text with: give calibration tokens"):
        Calibration("self").read(traced, None)
