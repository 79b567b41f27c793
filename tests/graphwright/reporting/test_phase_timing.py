"""Measured times: of every phase, at the sizes asked for, of every kind of artifact."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import graphwright
from graphwright.compiling.lowering import build_artifact
from graphwright.errors import UsageError
from graphwright.frontend import capture
from graphwright.passes import PIPELINES, run_passes
from graphwright.reporting.phase_timing import phase_seconds
from graphwright.reporting.pipeline_report import Workload
from tests.graphwright.conftest import CONTEXT
from tests.models.test_encoder_decoder import bart

WORKLOAD = Workload(batch=2, prefill_length=9, decode_context=20)


def test_of_a_language_model(artifact: Path) -> None:
    seconds = phase_seconds(artifact, WORKLOAD)
    assert list(seconds) == ["prefill", "decode"]
    assert all(0 < s < 60 for s in seconds.values())
    assert phase_seconds(graphwright.load(artifact), Workload(batch=1, prefill_length=CONTEXT, decode_context=CONTEXT))


def test_of_more_tokens_than_the_context_holds(artifact: Path) -> None:
    with pytest.raises(UsageError, match=rf"65 tokens cannot be measured: the context of '.*' is {CONTEXT} tokens"):
        phase_seconds(artifact, Workload(batch=1, prefill_length=1, decode_context=CONTEXT + 1))


def test_of_a_function(tmp_path: Path) -> None:
    graphwright.compile_function(nn.Linear(4, 5), torch.zeros(2, 4), output=tmp_path / "function")
    assert phase_seconds(tmp_path / "function", WORKLOAD)["forward"] > 0


def test_of_an_encoder_decoder(tmp_path: Path) -> None:
    program = capture(bart())
    run_passes(program, PIPELINES["cpu"])
    build_artifact(program, tmp_path / "artifact")
    assert phase_seconds(tmp_path / "artifact", WORKLOAD).keys() == {"prefill", "decode"}
