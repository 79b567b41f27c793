"""Whole models compiled for CUDA: where ONNX Runtime puts their nodes, and, on the CPU, what they compute."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.coverage.continuation import continued_logits
from benchmarks.coverage.engines import loaded
from benchmarks.coverage.reference import worst
from graphwright.backends.onnx import OnnxBackend
from graphwright.backends.onnx.lower import lower
from graphwright.backends.onnx.placement import Placement, predict
from graphwright.compiling.lowering import build_artifact, lowered
from graphwright.frontend import capture
from graphwright.ir import Program
from graphwright.passes import PIPELINES, Report, run_passes
from graphwright.runtime import load
from tests.backends.quantizing import Scheme, quantized
from tests.captures import shared
from tests.models.case import CHUNKS, LENGTHS
from tests.models.zoo import make

SIZES = {"Squeeze", "Cast", "Identity", "Add", "Mul", "Concat"}
"""What may be computed on the CPU: sizes."""


def compiled(name: str, dtype: str, scheme: Scheme | None = None) -> Program:
    """A tiny model with caches, in that type."""
    captured = shared(f"architecture {name} in {dtype}", lambda: capture(make(name), dtype=dtype))
    program = captured.clone()
    run_passes(program, PIPELINES["cuda"])
    return program if scheme is None else quantized(program, scheme)


def for_gpus(program: Program) -> tuple[Program, Report]:
    backend = OnnxBackend()
    return lowered(program, backend.lowering(backend.for_target(backend.options(), "cuda"), decoder=True))


@cache
def placed(name: str, dtype: str, scheme: Scheme | None = None) -> tuple[Placement, tuple[str, ...], tuple[str, ...]]:
    """Where nodes are, the kinds of all nodes, and the kinds of those on the CPU."""
    program, _ = for_gpus(compiled(name, dtype, scheme))
    model = lower(program.graphs["prefill"], "model", contrib=True)
    found = predict(model)
    kinds = {node.name: node.op_type for node in model.model.graph.node}
    on_host = (*found.without_kernel, *found.sizes)
    return found, tuple(kinds.values()), tuple(kinds[name] for name in on_host)


@pytest.mark.parametrize(
    ("name", "dtype", "attention"),
    [
        ("llama", "f16", "GroupQueryAttention"),
        ("llama", "bf16", "GroupQueryAttention"),
        ("llama", "f32", "Softmax"),
        ("mistral", "f16", "GroupQueryAttention"),
        ("gpt2", "f16", "GroupQueryAttention"),
        ("gpt2", "bf16", "GroupQueryAttention"),
        ("mixtral", "bf16", "GroupQueryAttention"),
        ("qwen3", "bf16", "GroupQueryAttention"),
    ],
)
def test_a_step_runs_on_the_gpu_and_copies_nothing(name: str, dtype: str, attention: str) -> None:
    found, kinds, on_host = placed(name, dtype)
    assert found.without_kernel == found.bodies == found.copies == ()
    assert set(on_host) <= SIZES
    assert attention in kinds
    assert found.is_capturable == ("MoE" not in kinds)


@pytest.mark.parametrize(("scale", "wide"), [("f16", False), ("f32", True)])
def test_int4_weights_are_multiplied_in_the_type_of_their_scales(scale: Any, wide: bool) -> None:
    scheme = Scheme("i4", 32, scale=scale)
    found, kinds, on_host = placed("llama", "f16", scheme)
    assert found.is_capturable
    assert set(on_host) <= SIZES
    assert "MatMulNBits" in kinds
    assert "MatMul" not in kinds
    _, report = for_gpus(compiled("llama", "f16", scheme))
    reasons = {m.reason for m in report.near_misses}
    reason = "with scales of f32 it is multiplied in f32, in which they are exact, not in f16"
    assert (reason in reasons) == wide


def test_float32_has_no_grouped_attention_and_says_so() -> None:
    _, report = for_gpus(compiled("llama", "f32"))
    reasons = {m.reason for m in report.near_misses}
    assert "ort-cuda takes no f32 in ort.group_query_attention" in reasons


def test_what_the_operator_is_not_told_is_said() -> None:
    _, report = for_gpus(compiled("llama", "f16"))
    reasons = {m.reason for m in report.near_misses}
    sentence = "the total length is computed on the GPU and read on the CPU, which copies it in every step"
    assert f"ort-cuda: {sentence}" in reasons


@pytest.mark.parametrize("name", ["llama", "mistral", "gpt2", "mixtral"])
def test_on_the_cpu_it_computes_what_the_model_does(name: str, tmp_path: Path) -> None:
    """Rows of different lengths in chunks and alone, by the kernels that the CPU has for the same operators.

    Four times eager float16's own distance from float64: as many roundings, in other places.
    """
    written = build_artifact(compiled(name, "f16"), tmp_path / "a", target="cuda").manifest
    assert written.program.recordable == (name != "mixtral"), "its experts may read a count back"
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randint(3, 250, (n,), generator=generator) for n in LENGTHS]
    model: Any = make(name).half()
    with torch.no_grad():
        eager = [model(row[None]).logits[0] for row in rows]
        double = model.double()
        exact = [double(row[None]).logits[0] for row in rows]
    found = continued_logits(loaded(load(tmp_path / "a", threads=1)), rows, CHUNKS, 64)
    assert worst(found, exact) < 4 * worst(eager, exact)


def test_a_batch_goes_row_by_row(tmp_path: Path) -> None:
    """The same bits as each row gives alone, for prompts of one length and behind a past."""
    build_artifact(compiled("llama", "f16"), tmp_path / "a", target="cuda")
    model = load(tmp_path / "a", threads=1)
    assert model.loaded.session.program.rows_apart
    generator = torch.Generator().manual_seed(5)
    rows = [torch.randint(3, 250, (12,), generator=generator) for _ in range(3)]
    together = continued_logits(loaded(model), rows, (4, 4, 4, 4, 4), 40)
    for row, found in zip(rows, together, strict=True):
        (alone,) = continued_logits(loaded(model), [row], (4, 4, 4), 40)
        assert np.array_equal(alone[:4].numpy(), found[:4].numpy())


def test_an_older_release_of_the_cpu_gets_the_older_form(tmp_path: Path) -> None:
    program = shared("architecture llama", lambda: capture(make("llama"))).clone()
    run_passes(program, PIPELINES["cpu"])
    report = build_artifact(program, tmp_path / "a", onnxruntime="1.31").lowering
    reasons = {m.reason for m in report.near_misses}
    sentence = "ort.group_query_attention in this form came with release 1.32, and this is compiled for 1.31"
    assert f"ort: {sentence}" in reasons
    assert not build_artifact(program, tmp_path / "b").manifest.program.rows_apart
    assert load(tmp_path / "a", threads=1).loaded.session.program.rows_apart
