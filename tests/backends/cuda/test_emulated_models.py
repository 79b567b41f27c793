"""Whole models of many kinds on the emulator, beside the original modules: prefill, chunks, decode, ragged rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import graphwright
from benchmarks.coverage.continuation import continued_logits
from benchmarks.coverage.engines import loaded
from benchmarks.coverage.models import call
from benchmarks.coverage.reference import float64, worst
from graphwright.backends.cuda.library import LIBRARY
from graphwright.compiling.lowering import build_artifact
from graphwright.emulating import emulated_engine
from graphwright.frontend import capture
from graphwright.ir import Program
from graphwright.passes import PIPELINES, run_passes
from graphwright.runtime import load
from tests.models import test_architectures, test_encoders, test_recurrent, test_ring_caches
from tests.models.case import CHUNKS, Case
from tests.models.encoders import ENCODERS, make
from tests.models.recurrent_zoo import CONFIGURATIONS as RECURRENT
from tests.models.recurrent_zoo import make as make_recurrent
from tests.models.zoo import CONFIGURATIONS

FEW = (9, 6, 4)
"""So much of each row where all tests run, in steps of other lengths than those that were traced."""
STEPS = (4, 1, 3, 1)
OFTEN = ("gpt2", "mixtral", "mamba2")
BY_KERNELS = ("causal_conv", "linear_recurrence", "weighted_mean")


def _marked(names: Sequence[str]) -> list[Any]:
    return [name if name in OFTEN else pytest.param(name, marks=pytest.mark.emulated_full) for name in names]


def _equals_eager(it: Case, program: Program, folder: Path, *, whole: bool) -> None:
    build_artifact(program, folder / "a", "cuda", architectures="emulated")
    model = loaded(load(folder / "a", engine=emulated_engine), ())
    if whole:
        assert worst(continued_logits(model, it.rows, CHUNKS, 64), it.exact) < it.bound
        return
    rows = [row[:count] for row, count in zip(it.rows, FEW, strict=True)]
    found = continued_logits(model, rows, STEPS, 64)
    assert [len(each) for each in found] == [*FEW]
    # What comes later changes nothing: the logits are those of the whole rows.
    assert worst(found, [exact[:count] for exact, count in zip(it.exact, FEW, strict=True)]) < it.bound


@pytest.mark.parametrize("name", _marked([*CONFIGURATIONS]))
def test_architectures_equal_eager(name: str, tmp_path: Path) -> None:
    it = test_architectures.case(name)
    _equals_eager(it, it.program, tmp_path, whole=name not in OFTEN)


@pytest.mark.parametrize("name", _marked([*RECURRENT]))
def test_recurrences_equal_eager(name: str, tmp_path: Path) -> None:
    it = test_recurrent.case(name)
    carrying = [op for graph in it.program.graphs.values() for op in graph if op.name in BY_KERNELS]
    assert carrying
    assert all(LIBRARY.kernel_for(op).name == op.name for op in carrying), "no state is carried by the tail"
    _equals_eager(it, it.program, tmp_path, whole=name not in OFTEN)


@pytest.mark.emulated_full
def test_recurrences_in_half_precision(tmp_path: Path) -> None:
    """Prompts by products of tiles. Four times eager float16's own distance from float64: as many roundings."""
    rows = [row[:count] for row, count in zip(test_recurrent.case("mamba2").rows, FEW, strict=True)]
    program = capture(make_recurrent("mamba2"), dtype="f16")
    run_passes(program, PIPELINES["cuda"])
    build_artifact(program, tmp_path / "a", "cuda", architectures="emulated")
    model = make_recurrent("mamba2").half()
    with torch.no_grad():
        eager = [call(model, row[None])[0] for row in rows]
        with float64(model) as double:
            exact = [call(double, row[None])[0] for row in rows]
    found = continued_logits(loaded(load(tmp_path / "a", engine=emulated_engine), ()), rows, STEPS, 64)
    assert worst(found, exact) < 4 * worst(eager, exact)


@pytest.mark.emulated_full
@pytest.mark.parametrize("name", test_ring_caches.RINGS)
def test_rings_equal_eager(name: str, tmp_path: Path) -> None:
    it = test_architectures.case(name)
    _equals_eager(it, test_ring_caches.ringed(name), tmp_path, whole=True)


@pytest.mark.emulated_full
@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_equal_eager(name: str, tmp_path: Path) -> None:
    """As plain functions, at sizes that were not traced."""
    attention = test_encoders.implementation(name)
    program = test_encoders.captured(name, attention).clone()
    run_passes(program, PIPELINES["function"])
    build_artifact(program, tmp_path / "a", "cuda", architectures="emulated")
    function = graphwright.load_function(tmp_path / "a", engine=emulated_engine)
    for batch, length in test_encoders.SIZES:
        test_encoders.check(function, make(name, attention), ENCODERS[name].inputs(batch, length))
