"""Artifacts for GPUs on the emulator: the real runtime runs the real plan, and Triton interprets the kernels."""

from dataclasses import replace
from pathlib import Path

import pytest

import graphwright
from benchmarks.coverage.continuation import continued_logits
from benchmarks.coverage.engines import loaded
from benchmarks.coverage.reference import worst
from graphwright.compiling.compiler import Options, build
from graphwright.compiling.lowering import build_artifact
from graphwright.emulating import emulated_engine
from graphwright.runtime import SessionError, load
from graphwright.sources.models import ModelOptions, resolve
from tests.backends.models import MODELS, decoder
from tests.models import test_architectures
from tests.models.case import CHUNKS

STORIES = Path(__file__).parents[4] / "shared/models/stories260k"


def test_a_llama_equals_eager(tmp_path: Path) -> None:
    """Prefill, chunks and tokens one by one, of rows of different lengths, in float32."""
    it = test_architectures.case("llama")
    build_artifact(it.program, tmp_path / "a", "cuda", architectures="emulated")
    found = continued_logits(loaded(load(tmp_path / "a", engine=emulated_engine), ()), it.rows, CHUNKS, 64)
    assert worst(found, it.exact) < it.bound


@pytest.mark.skipif(not STORIES.is_dir(), reason="the shared model stories260k is not here")
def test_the_published_text_begins_in_half_precision(tmp_path: Path) -> None:
    expected = (STORIES / "EXPECTED.txt").read_text(encoding="utf-8")
    prompt = "Once upon a time"
    source = resolve(str(STORIES), ModelOptions())
    build(source, tmp_path / "a", Options(target="cuda:emulated", dtype="f16"))
    text = graphwright.load(tmp_path / "a", engine=emulated_engine).generate(prompt, max_new_tokens=8)
    assert len(text) > 16
    assert expected.startswith(prompt + text)


def test_an_artifact_of_another_backend_is_refused_in_a_line(tmp_path: Path) -> None:
    build_artifact(decoder(replace(MODELS["llama"], layers=1)), tmp_path / "a", "tvm")
    with pytest.raises(SessionError, match="is for the backend 'tvm'; the emulator runs programs of 'cuda'"):
        load(tmp_path / "a", engine=emulated_engine)
