"""Hand-written decoders: each compiles exactly or is refused by name, and none is silently wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.coverage.continuation import continued_logits
from benchmarks.coverage.engines import interpreted, loaded
from benchmarks.coverage.reference import worst
from graphwright.compiling.lowering import build_artifact
from graphwright.frontend import capture
from graphwright.ir import PassError, UnsupportedError
from graphwright.passes import PIPELINES, run_passes
from graphwright.runtime import load
from tests.captures import shared
from tests.models.case import CHUNKS, LENGTHS
from tests.models.handwritten import MODELS
from tests.models.refused import REFUSED
from tests.tensors import manual_seed


def made(name: str) -> nn.Module:
    manual_seed(0)
    return MODELS[name]().eval()


def example() -> tuple[torch.Tensor]:
    return (torch.randint(0, 100, (2, 11)),)


@pytest.mark.parametrize("name", MODELS)
def test_exact(name: str, tmp_path: Path) -> None:
    model = made(name)
    inputs = example()
    program = shared(f"handwritten {name}", lambda: capture(model, inputs))
    run_passes(program, PIPELINES["cpu"])
    program.metadata.update(vocabulary_size=100, context_length=64)
    rows = [torch.randint(0, 100, (n,)) for n in LENGTHS]
    with torch.no_grad():
        eager = [model(row[None])[0] for row in rows]
        double = model.double()
        exact = [double(row[None])[0] for row in rows]
    # four times eager float32's own distance from float64: sums as long, in another order
    bound = 4 * worst(eager, exact)
    assert worst(continued_logits(interpreted(program), rows, CHUNKS, 40), exact) < bound
    build_artifact(program, tmp_path / "artifact")
    compiled = load(tmp_path / "artifact", threads=1)
    assert worst(continued_logits(loaded(compiled), rows, CHUNKS, 64), exact) < bound


SEES_NO_LATER_TOKEN = ("DividedByLength", "FromTheEnd", "LongerWindow", "MaskFromData", "SharperWithLength")
"""Their masks are causal, or the length alone decides: none changes with what a later token is."""


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str) -> None:
    manual_seed(0)
    model, reason = REFUSED[name]
    with pytest.raises((PassError, UnsupportedError)) as caught:
        run_passes(capture(model().eval(), example()), PIPELINES["cpu"])
    message = str(caught.value)
    assert reason in message
    assert "\n" not in message
    if isinstance(caught.value, PassError):
        assert "refused.py:" in message
        assert ("tokens see later ones" in message) == (name not in SEES_NO_LATER_TOKEN), message


def test_a_model_that_looks_ahead_is_refused() -> None:
    """BERT's tokens see later ones: there is nothing to continue."""
    import transformers

    config = transformers.BertConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
    )
    with pytest.raises(PassError, match=r"its mask is 'full': .*; tokens see later ones"):
        run_passes(capture(transformers.BertForMaskedLM(config).eval()), PIPELINES["cpu"])
