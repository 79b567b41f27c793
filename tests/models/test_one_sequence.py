"""Decoders of one sequence [S]: compiled with a batch and a cache, each row equals the original's answer for it."""

from __future__ import annotations

import pytest
import torch

from benchmarks.coverage.continuation import continued_logits
from benchmarks.coverage.engines import interpreted
from benchmarks.coverage.reference import worst
from graphwright.compiling.targets import is_language_model
from graphwright.frontend import capture
from graphwright.ir import run
from graphwright.passes import PIPELINES, run_passes
from tests.captures import shared
from tests.models.handwritten import VOCABULARY
from tests.models.one_sequence import MODELS
from tests.tensors import manual_seed

CHUNKS = (4, 1, 3, 1)
LENGTHS = (9, 5, 2)
WITHOUT_EXAMPLE = "LogitsAndLoss"
"""The others are given one, which saves the tries with a batch."""


@pytest.mark.parametrize("name", MODELS)
def test_each_row_equals_the_original(name: str) -> None:
    manual_seed(0)
    model = MODELS[name]().eval()
    inputs = None if name == WITHOUT_EXAMPLE else torch.zeros(5, dtype=torch.int64)
    program = shared(f"one sequence {name}", lambda: capture(model, inputs))
    assert is_language_model(program), program.metadata
    ids = torch.randint(0, VOCABULARY, (3, 7))
    with torch.no_grad():
        expected = torch.stack([model.reference(row) for row in ids])
    found = run(program.graphs["forward"], {"input_ids": ids})["logits"]
    # float32, sums of 64 products
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    run_passes(program, PIPELINES["cpu"])
    assert "decode" in program.graphs
    rows = [torch.randint(0, VOCABULARY, (n,)) for n in LENGTHS]
    with torch.no_grad():
        eager = [model.reference(row) for row in rows]
        double = model.double()
        exact = [double.reference(row) for row in rows]
    # four times eager float32's own distance from float64: sums as long, in another order
    bound = 4 * worst(eager, exact)
    assert worst(continued_logits(interpreted(program), rows, CHUNKS, 16), exact) < bound
