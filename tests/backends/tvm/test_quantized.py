"""Models of quantized weights as machine code, against the interpreter of the very graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import graphwright
from graphwright.ir import Program
from graphwright.lowering import build_tvm_artifact
from tests.backends.models import MODELS, decoder
from tests.backends.quantizing import Scheme, quantized
from tests.backends.running import Reference, close_enough, prefill_inputs, vocabulary
from tests.backends.tvm.stepping import Stepping

STORIES = Path(__file__).parents[4] / "shared/models/stories260k"

FORMATS = {
    "w4a16": Scheme("i4", 32, table=True),
    "w4a8": Scheme("i4", 32, 32, table=True),
    "w8a8-asymmetric": Scheme("u8", 0, 0),
}
STEPS = [(6, 6), (1, 1), (4, 4), (9, 9), (1, 1)]
"""Tokens of each step of one row: prefill of few and of many rows of products, decode, verify."""


def _follow(program: Program, scheme: Scheme, folder: Path) -> None:
    """Where x is rounded, a number between two codes but for a roundoff may go the other way.

    Few do: most tokens are as near as in float32, and none is further than rounding itself moves the logits.
    """
    rounded = quantized(program.clone(), scheme)
    build_tvm_artifact(rounded, folder)
    compiled, reference = Stepping(folder, 1, 24), Reference(rounded.graphs["prefill"], 1, 24)
    plain = quantized(program.clone(), replace(scheme, rounding=None)).graphs["prefill"]
    unrounded = Reference(plain, 1, 24) if scheme.rounding is not None else None
    random, past = np.random.default_rng(3), np.zeros(1, np.int64)
    near: list[bool] = []
    for length, new in STEPS:
        inputs = prefill_inputs(random.integers(0, vocabulary(program), (1, length)), past, np.array([new]))
        got, expected = compiled.step(inputs)[0], reference.step(inputs)[0]
        near += [np.abs(g - e).max() <= close_enough(e) for g, e in zip(got, expected, strict=True)]
        if unrounded is not None:
            assert np.abs(got - expected).max() < np.abs(unrounded.step(inputs)[0] - expected).max()
        past = past + new
    assert all(near) if unrounded is None else sum(near) > len(near) / 2


@pytest.mark.parametrize("name", FORMATS)
def test_formats_equal_the_interpreter(name: str, tmp_path: Path) -> None:
    _follow(decoder(MODELS["qwen2"]), FORMATS[name], tmp_path / "a")


@pytest.mark.skipif(not STORIES.is_dir(), reason="the shared model stories260k is not here")
def test_a_trained_model_with_sizes_that_groups_do_not_divide(tmp_path: Path) -> None:
    program, _ = graphwright.optimize(graphwright.trace(STORIES), "cpu")
    _follow(program, FORMATS["w4a8"], tmp_path / "a")
