"""Decoders in the calling styles of people's own code: compiled with a cache, they equal the original at each token."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks.coverage.continuation import continued_logits
from benchmarks.coverage.engines import interpreted
from benchmarks.coverage.reference import worst
from graphwright.compiling.targets import is_language_model
from graphwright.frontend import capture
from graphwright.ir import Program, run
from graphwright.passes import PIPELINES, run_passes
from tests.captures import shared
from tests.models.answering import MODELS, Base
from tests.models.handwritten import VOCABULARY
from tests.tensors import manual_seed

CHUNKS = (4, 1, 3, 1)
LENGTHS = (9, 5, 2)


@pytest.mark.parametrize("name", MODELS)
def test_equal_to_the_original(name: str) -> None:
    manual_seed(0)
    model = MODELS[name]().eval()
    program = shared(f"answering {name}", lambda: capture(model))
    assert is_language_model(program), program.metadata
    if name.startswith("Last"):
        _assert_last_token_of_every_prefix(model, program)
    run_passes(program, PIPELINES["cpu"])
    rows = [torch.randint(0, VOCABULARY, (n,)) for n in LENGTHS]
    with torch.no_grad():
        eager = [model.reference(row[None])[0] for row in rows]
        double = model.double()
        exact = [double.reference(row[None])[0] for row in rows]
    # four times eager float32's own distance from float64: sums as long, in another order
    bound = 4 * worst(eager, exact)
    assert worst(continued_logits(interpreted(program), rows, CHUNKS, 16), exact) < bound


def _assert_last_token_of_every_prefix(model: Base, program: Program) -> None:
    """What the module itself answers for each prefix is what the program says at the prefix's last token."""
    ids = torch.randint(0, VOCABULARY, (2, 7))
    every = run(program.graphs["forward"], {"input_ids": ids})["logits"]
    assert every.shape == (2, 7, VOCABULARY)
    for length in range(1, 8):
        with torch.no_grad():
            answer: Tensor | tuple[Tensor, ...] = model(ids[:, :length])
        own = answer[0] if isinstance(answer, tuple) else answer
        # float32, sums of 32 products
        torch.testing.assert_close(every[:, length - 1], own.reshape(2, VOCABULARY), rtol=1e-4, atol=1e-5)
