"""The same models on a GPU itself, where there is one: what the emulator computes is what the machine code computes."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from benchmarks.coverage.continuation import continued_logits
from benchmarks.coverage.engines import loaded
from benchmarks.coverage.reference import worst
from graphwright.compiling.lowering import build_artifact
from graphwright.runtime import load
from tests.models import test_architectures
from tests.models.case import CHUNKS

ARCHITECTURE = """
from graphwright.runtime import SessionError
from graphwright.runtime.cuda_api import cuda
try:
    print(cuda().architecture)
except SessionError:
    pass
"""


@cache
def architecture() -> str:
    """That of the GPU here, empty without one. Asked in a process of its own: this one may have loaded the emulator."""
    return subprocess.run([sys.executable, "-c", ARCHITECTURE], capture_output=True, text=True).stdout.strip()


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["llama", "mistral", "mixtral"])
def test_a_model_equals_eager(name: str, tmp_path: Path) -> None:
    if not architecture():
        pytest.skip("there is no GPU here")
    it = test_architectures.case(name)
    build_artifact(it.program, tmp_path / "a", "cuda", architectures=architecture())
    found = continued_logits(loaded(load(tmp_path / "a"), ()), it.rows, CHUNKS, 64)
    assert worst(found, it.exact) < it.bound
