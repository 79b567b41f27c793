"""Quantized models on the emulator against the interpreter, in float32; what steps round themselves, in float32 too."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.coverage.continuation import continued_logits
from benchmarks.coverage.engines import interpreted, loaded
from graphwright.backends.cuda.library import LIBRARY
from graphwright.compiling.lowering import build_artifact, lowered
from graphwright.emulating import emulated_engine
from graphwright.passes import parse_passes, run_passes
from graphwright.passes.lowering.cuda import cuda_lowering
from graphwright.runtime import load
from tests.backends.models import MODELS, decoder
from tests.backends.quantizing import Scheme, quantized
from tests.backends.running import close_enough
from tests.backends.ties import follow
from tests.tensors import listed

CHUNKS = (5, 1)
"""A prefill and one token of each row: products of many rows, and of few."""


MINIMUMS, SYMMETRIC = Scheme("u4", 32, table=True, scale="f16", minimum=True), Scheme("i4", 32, scale="f16")


@pytest.mark.parametrize(
    ("name", "scheme", "batch"),
    [
        pytest.param("tied", MINIMUMS, 2, id="minimums-2"),
        pytest.param("llama", SYMMETRIC, 1, id="symmetric-1"),
        pytest.param("tied", MINIMUMS, 1, id="minimums-1", marks=pytest.mark.emulated_full),
        pytest.param("llama", SYMMETRIC, 2, id="symmetric-2", marks=pytest.mark.emulated_full),
    ],
)
def test_weights_in_few_bits_equal_the_interpreter(name: str, scheme: Scheme, batch: int, tmp_path: Path) -> None:
    program = quantized(decoder(replace(MODELS[name], layers=1)), scheme)
    rows = list(torch.randint(0, 48, (batch, sum(CHUNKS)), generator=torch.Generator().manual_seed(batch)))
    rows = [row[: len(row) - len(CHUNKS) * i] if i else row for i, row in enumerate(rows)]
    build_artifact(program, tmp_path / "a", "cuda", architectures="emulated")
    found = continued_logits(loaded(load(tmp_path / "a", engine=emulated_engine), ()), rows, CHUNKS, 16)
    want = continued_logits(interpreted(program), rows, CHUNKS, 16)
    for got, expected in zip(found, want, strict=True):
        assert float((got - expected).abs().max()) < close_enough(expected.numpy())


@pytest.mark.parametrize("kind", [pytest.param("activations", marks=pytest.mark.emulated_full), "caches"])
def test_what_a_step_rounds_has_the_codes_of_the_interpreter(kind: str, tmp_path: Path) -> None:
    """Activations in front of products, and keys and values, in 8 bits."""
    program = decoder(replace(MODELS["llama"], layers=1))
    ids = torch.randint(0, 48, (sum(CHUNKS),), generator=torch.Generator().manual_seed(3))
    if kind == "activations":
        program = quantized(program, Scheme("i4", 32, 32))
    else:
        np.save(tmp_path / "tokens.npy", np.random.default_rng(1).integers(0, 48, (6, 24)))
        run_passes(program, parse_passes(f"quantize-cache{{bits=8, values=token, tokens={tmp_path / 'tokens.npy'}}}"))
        after, _ = lowered(program, cuda_lowering(LIBRARY.target))
        made = [op for graph in after.graphs.values() for op in graph if not op.definition.view]
        assert {"cuda.append_attention", "cuda.attention"} <= {op.name for op in made}
        assert not [op for op in made if LIBRARY.kernel_for(op).name.startswith("tail")]
    build_artifact(program, tmp_path / "a", "cuda", architectures="emulated")
    (logits,) = continued_logits(loaded(load(tmp_path / "a", engine=emulated_engine), ()), [ids], CHUNKS, 16)
    follow(program.graphs["prefill"], listed(ids), logits.numpy())
