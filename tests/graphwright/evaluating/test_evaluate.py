"""Evaluation by the public face: artifacts, checkpoints and programs, by the runtime and by the interpreter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import graphwright
from graphwright.errors import UsageError
from graphwright.runtime.errors import DataError
from tests.graphwright import models
from tests.graphwright.test_import import loaded_after

ROWS = np.random.default_rng(0).integers(3, 200, (3, 40))


def test_a_checkpoint_scores_as_the_original_does(checkpoint: Path, artifact: Path) -> None:
    library: Any = AutoModelForCausalLM
    original = library.from_pretrained(checkpoint).eval()
    ids = torch.as_tensor(ROWS)
    with torch.no_grad():
        wanted = torch.nn.functional.cross_entropy(original(ids).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    compiled = graphwright.evaluate(artifact, ROWS, threads=1)
    interpreted = graphwright.evaluate(checkpoint, ROWS, interpreter=True)
    assert compiled.score.nats == pytest.approx(float(wanted), abs=1e-5)
    assert interpreted.score.nats == pytest.approx(float(wanted), abs=1e-5)
    assert compiled.byte_perplexity is None


def test_kinds_of_models_can_be_compared(checkpoint: Path, artifact: Path, tmp_path: Path) -> None:
    found = graphwright.evaluate(graphwright.load(artifact, threads=1), ROWS, against=checkpoint, threads=1)
    assert found.score.kl == pytest.approx(0, abs=1e-9)
    assert found.score.agreement == 1
    quantized, _ = graphwright.quantize(checkpoint, "w4a16-g32-rtn+embedding=none", measure=False)
    graphwright.write_program(quantized, tmp_path / "q.gw")
    found = graphwright.evaluate(tmp_path / "q.gw", ROWS, against=checkpoint, interpreter=True, rows=1)
    assert found.score.kl is not None
    assert 0 < found.score.kl < 1
    assert found.score.rows == 1


def test_a_text_is_cut_to_the_context(checkpoint: Path, artifact: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 20)
    found = graphwright.evaluate(artifact, text, threads=1)
    assert found.score.length == 64
    assert found.byte_perplexity is not None
    assert found.byte_perplexity == pytest.approx(found.perplexity ** (1 / (found.bytes_per_token or 0)))
    assert graphwright.evaluate(artifact, text, length=16, rows=2, threads=1).score.tokens == 30
    program = graphwright.trace(checkpoint)
    with pytest.raises(DataError, match=r"is a text, and the model has no tokenizer\.json"):
        graphwright.evaluate(program, text, interpreter=True)
    assert graphwright.evaluate(program, text, interpreter=True, assets=checkpoint, rows=2).score.rows == 2


def test_what_cannot_be_evaluated_is_refused(artifact: Path) -> None:
    for arguments, message in (
        ({"length": 1}, "length is 1: must be at least 2"),
        ({"rows": 0}, "rows is 0: must be at least 1"),
        ({"interpreter": True}, "is compiled: the interpreter runs checkpoints and .gw files"),
    ):
        with pytest.raises(UsageError, match=message):
            graphwright.evaluate(artifact, ROWS, **arguments)  # pyright: ignore[reportArgumentType] - one at a time
    with pytest.raises(DataError, match="too few for a row of 41"):
        graphwright.evaluate(artifact, ROWS, length=41)
    with pytest.raises(DataError, match="the models have different vocabularies"):
        graphwright.evaluate(artifact, ROWS % 50, against=models.Own().eval(), interpreter=False)


def test_evaluating_an_artifact_needs_no_torch(artifact: Path) -> None:
    code = f"import graphwright\nimport numpy\ngraphwright.evaluate({str(artifact)!r}, numpy.array([[1, 2, 3]]))"
    assert loaded_after(code) == {"numpy", "onnxruntime"}
