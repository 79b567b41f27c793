"""A published model in four bits: GPTQ against plain rounding, by what they do to its predictions."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import torch

import graphwright
from graphwright.ir import Interpreter, Program
from graphwright.passes import named_pipeline, parse_passes, run_passes
from graphwright.passes.proving.cached import CachedRun

STORIES = Path(__file__).parents[4] / "shared" / "models" / "stories260k"
FIRST = 1
"""The token that begins a story."""


def told(program: Program, rows: int, length: int, seed: int) -> torch.Tensor:
    """Rows that the model tells by itself, each token sampled from its distribution: i64 [rows, length]."""
    generator = torch.Generator().manual_seed(seed)
    run = CachedRun(program, Interpreter(), rows, length)
    tokens = [torch.full((rows, 1), FIRST)]
    for _ in range(length - 1):
        logits = run.step(tokens[-1], torch.ones(rows).long(), torch.zeros(rows, 1).long()).logits[:, 0]
        tokens.append(torch.multinomial(logits.softmax(-1), 1, generator=generator))
    return torch.cat(tokens, 1)


def log_probabilities(program: Program, rows: torch.Tensor) -> torch.Tensor:
    batch, length = rows.shape
    run = CachedRun(program, Interpreter(), batch, length)
    positions = torch.arange(length).expand(batch, length)
    return run.step(rows, torch.full((batch,), length), positions).logits.double().log_softmax(-1)


@pytest.mark.slow
def test_gptq_keeps_the_divergence_under_half_of_that_of_plain_rounding(tmp_path: Path) -> None:
    if not STORIES.exists():
        pytest.skip("the shared model stories260k is not here")
    program = graphwright.trace(STORIES)
    run_passes(program, named_pipeline("cpu"))
    numpy.save(tmp_path / "tokens.npy", told(program, 32, 128, seed=1).numpy())
    others = told(program, 16, 128, seed=2)
    exact = log_probabilities(program, others)

    def divergence(options: str) -> float:
        each = program.clone()
        run_passes(each, parse_passes(f"quantize-weights{{to=i4, group=32, {options}}}"))
        return float((exact.exp() * (exact - log_probabilities(each, others))).sum(-1).mean())

    plain, searched = divergence("method=absmax"), divergence("method=mse")
    compensated = divergence(f'method=gptq, act_order=true, tokens="{tmp_path / "tokens.npy"}"')
    assert compensated < plain / 2
    assert compensated < searched < plain
