"""The same models through the ONNX backend: both dialects, run by the runtime over shared caches, against eager."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.coverage.continuation import continued_logits
from benchmarks.coverage.engines import loaded
from benchmarks.coverage.reference import worst
from graphwright.lowering import build_artifact
from graphwright.runtime import load
from tests.models.case import CHUNKS, LENGTHS
from tests.models.test_architectures import case
from tests.models.zoo import CONFIGURATIONS


@pytest.mark.parametrize("dialect", ["ort", "portable"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_artifact_equals_eager(name: str, dialect: str, tmp_path: Path) -> None:
    it = case(name)
    build_artifact(it.program, tmp_path / "artifact", dialect=dialect)
    found = continued_logits(loaded(load(tmp_path / "artifact", threads=1)), it.rows, CHUNKS, 64)
    assert [len(f) for f in found] == list(LENGTHS)
    assert worst(found, it.exact) < it.bound
