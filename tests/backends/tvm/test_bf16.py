"""Models whose products are computed in bf16: beside the interpreter of the very graph, to the bit, and by name."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from graphwright.backends.tvm import targets
from graphwright.backends.tvm.backend import TvmBackend, TvmOptions
from graphwright.backends.tvm.cpu import AVX2, Cpu, host_cpu
from graphwright.compiling.compiler import Options
from graphwright.compiling.lowering import build_artifact
from graphwright.compiling.narrowing import narrowing_passes
from graphwright.ir import Notice, Program
from graphwright.passes import run_passes
from graphwright.passes.quantization import ComputeInBF16
from graphwright.runtime.artifact import open_artifact
from tests.backends.models import MODELS, decoder
from tests.backends.running import Reference, prefill_inputs, vocabulary
from tests.backends.tvm.bits import check_bits
from tests.backends.tvm.stepping import Stepping

TOKENS = 40


@pytest.fixture(scope="module")
def programs() -> tuple[Program, Program]:
    """A program of which the head is the embedding, and the same rounded."""
    floats = decoder(MODELS["qwen2"])
    rounded = floats.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Notice)
        run_passes(rounded, [ComputeInBF16()])
    return floats, rounded


@pytest.fixture(scope="module")
def artifact(programs: tuple[Program, Program], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bf16") / "a"
    build_artifact(programs[1], folder, "tvm")
    return folder


def test_logits_are_those_of_rounded_numbers(programs: tuple[Program, Program], artifact: Path) -> None:
    floats, rounded = programs
    ids = np.random.default_rng(0).integers(0, vocabulary(floats), (1, TOKENS))
    inputs = prefill_inputs(ids, np.zeros(1, np.int64), np.array([TOKENS]))
    compiled, same, exact = (
        each.step(inputs)
        for each in (
            Stepping(artifact, 1, TOKENS),
            *(Reference(program.graphs["prefill"], 1, TOKENS) for program in (rounded, floats)),
        )
    )
    # A number within a roundoff of the middle between two of bf16 may go to either: rare, and off by 2^-8.
    cost = float(np.sqrt(np.mean((same - exact) ** 2)))
    assert 0 < float(np.sqrt(np.mean((compiled - same) ** 2))) < cost / 4
    assert cost < 2.0**-6 * float(np.abs(exact).max())


def test_bits_do_not_depend_on_what_else_a_step_takes(programs: tuple[Program, Program], artifact: Path) -> None:
    check_bits(artifact, vocabulary(programs[0]))


def test_every_product_and_the_table_are_stored_once_in_pairs(artifact: Path) -> None:
    text = (artifact / "lowered.gw").read_text(encoding="utf-8")
    assert "cpu.bf16_linear" in text
    assert " linear(" not in text
    assert "cast(" not in text.split("graph prefill")[1]
    names = {entry for entry in text.split('"') if entry.endswith((".packed", ".pairs"))}
    assert names
    assert all(name.endswith(".pairs") for name in names)
    assert open_artifact(artifact).manifest.program.dialect == host_cpu().name


def test_it_is_asked_for_by_dtype_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with_bf16 = Cpu("znver4", frozenset({"avx512f", "avx512bw", "avx512vl", "avx512_bf16"}))
    monkeypatch.setattr(targets, "host_cpu", lambda: with_bf16)
    assert narrowing_passes(Options(backend="tvm", dtype="bf16")) == (ComputeInBF16(),)
    for others in (Options(backend="tvm"), Options(backend="tvm", dtype="f16"), Options(backend="onnx", dtype="bf16")):
        assert narrowing_passes(others) == ()
    monkeypatch.setattr(targets, "host_cpu", lambda: AVX2)
    with pytest.warns(Notice, match="computed in float32: this CPU has no AVX-512 BF16"):
        assert not TvmBackend().multiplies_bf16(TvmOptions())


def test_all_machines_that_are_named_must_have_it() -> None:
    assert TvmBackend().multiplies_bf16(TvmOptions("v4+vnni+bf16"))
    with pytest.warns(Notice, match="computed in float32: v3 has no AVX-512 BF16"):
        assert not TvmBackend().multiplies_bf16(TvmOptions("v3,v4+vnni+bf16"))
