"""Quantized models on the emulator against the interpreter, in float32; what a GPU's kernels do not take."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.coverage.continuation import continued_logits
from benchmarks.coverage.engines import interpreted, loaded
from graphwright.compiling.lowering import build_artifact
from graphwright.emulating import emulated_engine
from graphwright.ir import UnsupportedError
from graphwright.runtime import load
from tests.backends.models import MODELS, decoder
from tests.backends.quantizing import Scheme, quantized
from tests.backends.running import close_enough

CHUNKS = (5, 1)
"""A prefill and one token of each row: products of many rows, and of few."""


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("tied", Scheme("u4", 32, table=True, scale="f16", minimum=True)),
        ("llama", Scheme("i4", 32, scale="f16")),
    ],
    ids=["minimums", "symmetric"],
)
@pytest.mark.parametrize("batch", [1, 2])
def test_weights_in_few_bits_equal_the_interpreter(name: str, scheme: Scheme, batch: int, tmp_path: Path) -> None:
    program = quantized(decoder(replace(MODELS[name], layers=1)), scheme)
    rows = list(torch.randint(0, 48, (batch, sum(CHUNKS)), generator=torch.Generator().manual_seed(batch)))
    rows = [row[: len(row) - len(CHUNKS) * i] if i else row for i, row in enumerate(rows)]
    build_artifact(program, tmp_path / "a", "cuda", architectures="emulated")
    found = continued_logits(loaded(load(tmp_path / "a", engine=emulated_engine), ()), rows, CHUNKS, 16)
    want = continued_logits(interpreted(program), rows, CHUNKS, 16)
    for got, expected in zip(found, want, strict=True):
        assert float((got - expected).abs().max()) < close_enough(expected.numpy())


def test_groups_that_no_kernel_reads_are_refused_in_a_line(tmp_path: Path) -> None:
    program = quantized(decoder(replace(MODELS["llama"], layers=1)), Scheme("i4", 24))
    with pytest.raises(UnsupportedError, match="groups of 24 codes: its kernels take powers of two from 16 to 256"):
        build_artifact(program, tmp_path / "a", "cuda", architectures="emulated")
