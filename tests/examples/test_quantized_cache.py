"""The bundled model at its whole context with caches of codes: how far its answers move."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

import graphwright
from examples.storyteller import STORIES
from graphwright.ir import Interpreter, Program
from graphwright.passes import parse_passes, run_passes
from graphwright.passes.proving.cached import CachedRun

FOLDER = Path(__file__).parents[2] / "examples" / "models" / "storyteller"
CONTEXT = 512


def stories(seed: int, rows: int) -> torch.Tensor:
    """Whole contexts of stories, one after another: i64 [rows, 512]."""
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    ids = [i for story in STORIES.stories(60 * rows, seed=seed) for i in tokenizer.encode(story).ids]
    return torch.tensor(ids[: rows * CONTEXT]).reshape(rows, CONTEXT)


@pytest.fixture(scope="module")
def program() -> Program:
    return graphwright.optimize(graphwright.trace(FOLDER), "cpu")[0]


def log_probabilities(program: Program, ids: torch.Tensor) -> torch.Tensor:
    rows, length = ids.shape
    run = CachedRun(program, Interpreter(), rows, length)
    everywhere = torch.arange(length).expand(rows, length)
    return run.step(ids, torch.full((rows,), length), everywhere).logits.double().log_softmax(-1)


def test_eight_bits_cost_less_than_a_hundredth_of_a_nat(program: Program, tmp_path: Path) -> None:
    np.save(tmp_path / "tokens.npy", stories(1, 8).numpy())
    ids = stories(2, 2)
    exact = log_probabilities(program, ids)
    for share in ("tensor", "channel"):
        after = program.clone()
        options = f"keys={share}, values={share}, tokens={tmp_path / 'tokens.npy'}"
        run_passes(after, parse_passes(f"quantize-cache{{{options}}}"))
        found = log_probabilities(after, ids)
        divergence = (exact.exp() * (exact - found)).sum(-1)
        assert 0 < divergence.mean() < 0.01
