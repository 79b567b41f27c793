"""Forms of attention in decoders on the emulator against the interpreter: biases on scores, sinks, prefixes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.coverage.continuation import continued_logits
from benchmarks.coverage.engines import interpreted, loaded
from graphwright.backends.cuda.library import LIBRARY
from graphwright.compiling.lowering import build_artifact, lowered
from graphwright.emulating import emulated_engine
from graphwright.passes.lowering.cuda import cuda_lowering
from graphwright.runtime import load
from tests.backends.models import MODELS, decoder
from tests.backends.running import close_enough

CHUNKS = (5, 1)
"""A prefill and one token of each row: attention that is whole, and by pieces."""


@pytest.mark.parametrize(
    "name", ["alibi", *(pytest.param(name, marks=pytest.mark.emulated_full) for name in ("gpt-oss", "prefix"))]
)
def test_kernels_in_triton_attend_as_the_interpreter_does(name: str, tmp_path: Path) -> None:
    program = decoder(replace(MODELS[name], layers=1))
    after, _ = lowered(program, cuda_lowering(LIBRARY.target))
    attends = [op for graph in after.graphs.values() for op in graph if "attention" in op.name]
    assert attends
    assert not [op for op in attends if LIBRARY.kernel_for(op).name.startswith("tail")]
    rows = list(torch.randint(0, 48, (2, sum(CHUNKS)), generator=torch.Generator().manual_seed(0)))
    rows[1] = rows[1][:4]
    build_artifact(program, tmp_path / "a", "cuda", architectures="emulated")
    found = continued_logits(loaded(load(tmp_path / "a", engine=emulated_engine), ()), rows, CHUNKS, 16)
    want = continued_logits(interpreted(program), rows, CHUNKS, 16)
    for got, expected in zip(found, want, strict=True):
        assert float((got - expected).abs().max()) < close_enough(expected.numpy())
