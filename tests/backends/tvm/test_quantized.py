"""Models of quantized weights as machine code, against the interpreter of the very graph."""

from __future__ import annotations

from pathlib import Path

import pytest

import graphwright
from graphwright.backends.tvm import build_artifact
from graphwright.ir import Program
from tests.backends.models import MODELS, decoder
from tests.backends.quantizing import Scheme, quantized
from tests.backends.running import continued, vocabulary
from tests.backends.ties import follow
from tests.backends.tvm.stepping import Stepping

STORIES = Path(__file__).parents[4] / "shared/models/stories260k"

FORMATS = {
    "w4a16": Scheme("i4", 32, table=True),
    "w4a8": Scheme("i4", 32, 32, table=True),
    "w8a8-asymmetric": Scheme("u8", 0, 0),
}
STEPS = [(6, [6]), (1, [1]), (4, [4]), (9, [9]), (1, [1])]
"""Tokens of each step of one row: prefill of few and of many rows of products, decode, verify."""


def _follow(program: Program, scheme: Scheme, folder: Path) -> None:
    program = quantized(program, scheme)
    build_artifact(program, folder)
    ((ids, logits),) = continued(Stepping(folder, 1, 24), STEPS, vocabulary(program))
    follow(program.graphs["prefill"], ids, logits)


@pytest.mark.parametrize("name", FORMATS)
def test_formats_equal_the_interpreter(name: str, tmp_path: Path) -> None:
    _follow(decoder(MODELS["qwen2"]), FORMATS[name], tmp_path / "a")


@pytest.mark.skipif(not STORIES.is_dir(), reason="the shared model stories260k is not here")
def test_a_trained_model_with_sizes_that_groups_do_not_divide(tmp_path: Path) -> None:
    program, _ = graphwright.optimize(graphwright.trace(STORIES), "cpu")
    _follow(program, FORMATS["w4a8"], tmp_path / "a")
