"""The coverage table: its checks see a mistake, and whatever ends a model early ends up in its row."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.coverage import causal, encoder_decoder, isolation
from benchmarks.coverage.engines import Engine, Start, interpreted
from benchmarks.coverage.measure import measure
from benchmarks.coverage.models import MadeModel, ModelError, causal_model, model_class, random_model
from benchmarks.coverage.reference import STEPS, Reference, reference
from benchmarks.coverage.row import Row
from benchmarks.coverage.table import document, totals
from graphwright.frontend import capture
from graphwright.ir import Program
from graphwright.passes import PIPELINES, run_passes


class Case:
    """A small model with a sliding window, compiled, and what eager says of it."""

    def __init__(self) -> None:
        self.made: MadeModel = causal_model("MistralForCausalLM", 0)
        self.reference: Reference = reference(self.made.module)
        self.program: Program = capture(self.made.module)
        run_passes(self.program, PIPELINES["cpu"])


@pytest.fixture(scope="module")
def case() -> Case:
    return Case()


class Altered:
    """An engine whose logits, or inputs, are altered."""

    def __init__(self, engine: Engine, what: str) -> None:
        self.engine = engine
        self.what = what

    def step(self, ids: Tensor, new: Tensor, positions: Tensor) -> Tensor:
        if self.what == "padding is taken for tokens":
            new = torch.full_like(new, ids.shape[1])
        logits = self.engine.step(ids, new, positions)
        return logits * (1 + 1e-4) if self.what == "a small factor" else logits


def altered(start: Start, what: str) -> Start:
    return lambda batch, capacity: Altered(start(batch, capacity), what)


def test_a_right_model_is_within_the_bound(case: Case) -> None:
    start = interpreted(case.program)
    assert all(0 < error <= 1 for error in causal.errors(start, case.reference).values())
    assert causal.greedy_agreement(start, case.reference) == (STEPS, "")


def test_a_small_factor_is_seen_by_every_check(case: Case) -> None:
    found = causal.errors(altered(interpreted(case.program), "a small factor"), case.reference)
    assert all(error > 1 for error in found.values())


def test_padding_that_counts_is_seen_by_ragged_rows_only(case: Case) -> None:
    found = causal.errors(altered(interpreted(case.program), "padding is taken for tokens"), case.reference)
    assert {name for name, error in found.items() if error > 1} == {"ragged"}


def test_a_longer_window_is_seen(case: Case) -> None:
    model = causal_model("MistralForCausalLM", 0).module
    model.config.sliding_window = 9  # type: ignore[union-attr]  # a configuration
    program = capture(model)
    run_passes(program, PIPELINES["cpu"])
    assert all(error > 1 for error in causal.errors(interpreted(program), case.reference).values())


def test_a_context_of_another_row_is_seen() -> None:
    model = random_model("BartForConditionalGeneration", 0, 3.0)
    contexts = encoder_decoder.contexts(model)
    expected = reference(model, encoder_decoder.calls(contexts))
    program = capture(model)
    run_passes(program, PIPELINES["cpu"])
    right = causal.errors(interpreted(program, contexts), expected)
    assert all(0 < error <= 1 for error in right.values())
    wrong = causal.errors(interpreted(program, [contexts[0], contexts[2], contexts[1]]), expected)
    assert {name for name, error in wrong.items() if error > 1} == {"ragged"}


def test_the_bound_is_far_below_the_logits(case: Case) -> None:
    assert 0 < case.reference.bound < 1e-3 * case.reference.scale
    assert case.made.spread is not None
    assert 0.02 < case.made.spread < 0.9


def test_a_class_that_is_not_there_is_a_row() -> None:
    row = measure("NoSuchForCausalLM", "ort")
    assert (row.status, row.stage) == ("failed", "model")
    assert "has no class NoSuchForCausalLM" in row.reason
    with pytest.raises(ModelError):
        model_class("NoSuchForCausalLM")


def test_a_timeout_is_a_row_that_names_its_stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho model\necho capture\nsleep 60\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    row = isolation.isolated("LlamaForCausalLM", "ort", 0.5)
    assert (row.status, row.stage, row.reason) == ("failed", "capture", "not finished after 0 s")


def test_a_crash_is_a_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho passes\necho 'Segmentation fault' >&2\nexit 139\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    row = isolation.isolated("LlamaForCausalLM", "ort", 10)
    assert (row.status, row.stage) == ("failed", "passes")
    assert row.reason == "its process ended with status 139: Segmentation fault"


def test_the_page_shows_the_worse_engine_and_every_reason() -> None:
    right = Row("AForCausalLM", "right", "done", cache_bytes_per_token=8, state_bytes=0)
    right.errors = {"interpreter": {"prefill": 0.25}, "ort": {"prefill": 0.5}}
    right.greedy = {"interpreter": 32, "ort": 32}
    refused = Row("BForCausalLM", "refused", "capture", "no importer | for this")
    page = document([right, refused], "ort", "command")
    assert "| AForCausalLM | right | yes |" in page
    assert "| 0.50 |" in page
    assert "no importer \\| for this" in page
    assert totals([right, refused]) == "2 tried: 1 right, 1 refused, 0 failed, 0 wrong."
