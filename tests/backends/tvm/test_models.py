"""Whole models of the zoo as TVM compiles them, against the original modules: prefill, chunks, decode, ragged rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.coverage.continuation import continued_logits
from benchmarks.coverage.engines import loaded
from benchmarks.coverage.reference import worst
from graphwright.backends.tvm.compile import build_artifact
from graphwright.runtime import load
from tests.models import recurrent_zoo, test_architectures, test_recurrent, zoo
from tests.models.case import CHUNKS, LENGTHS


@pytest.mark.parametrize("name", zoo.CONFIGURATIONS)
def test_artifact_equals_eager(name: str, tmp_path: Path) -> None:
    it = test_architectures.case(name)
    build_artifact(it.program, tmp_path / "artifact")
    found = continued_logits(loaded(load(tmp_path / "artifact", threads=1)), it.rows, CHUNKS, 64)
    assert [len(f) for f in found] == list(LENGTHS)
    assert worst(found, it.exact) < it.bound


@pytest.mark.parametrize("name", recurrent_zoo.CONFIGURATIONS)
def test_recurrent_artifact_equals_eager(name: str, tmp_path: Path) -> None:
    it = test_recurrent.case(name)
    build_artifact(it.program, tmp_path / "artifact")
    found = continued_logits(loaded(load(tmp_path / "artifact", threads=1)), it.rows, CHUNKS, 64)
    assert worst(found, it.exact) < it.bound
