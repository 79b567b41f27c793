"""Models of the zoo as TVM compiles them, against the original modules: prefill, chunks, decode, ragged rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.coverage.continuation import continued_logits
from benchmarks.coverage.engines import interpreted, loaded
from benchmarks.coverage.reference import worst
from graphwright.compiling.lowering import build_artifact
from graphwright.frontend import capture
from graphwright.ir import Program
from graphwright.passes import PIPELINES, run_passes
from graphwright.runtime import load
from tests.backends.tvm.bits import check_bits
from tests.captures import shared
from tests.marks import full
from tests.models import test_architectures, test_encoder_decoder, test_recurrent, zoo
from tests.models.case import CHUNKS, LENGTHS, Case
from tests.models.test_handwritten import example, made
from tests.models.test_ring_caches import FEEDS, ringed
from tests.tensors import manual_seed

ARCHITECTURES = ("llama", "gemma2", full("bloom"), "gpt_oss", "deepseek_v3")
RECURRENT = (full("mamba"), "qwen3_next", "rwkv")
HANDWRITTEN = (full("Einsum"), "Complex", "RunningMean")
SAME_BITS = ("llama", "gemma2", "deepseek_v3")
"""Of those the ones whose attention sees all, sees a window, and reads a latent."""
BESIDE_A_CONTEXT = ("t5",)
"""One model for each mechanism: each takes ten seconds to compile, and the others have nothing else in them. What is
marked is there for a kernel that has tests of its own."""

MANY = 8
"""Times as many rows tell how much a handwritten module rounds as are compared."""


def continued(
    program: Program,
    folder: Path,
    rows: Sequence[Tensor],
    chunks: Sequence[int] = CHUNKS,
    contexts: Sequence[Tensor] = (),
) -> list[Tensor]:
    build_artifact(program, folder / "artifact", "tvm")
    return again(folder, rows, chunks, contexts)


def again(folder: Path, rows: Sequence[Tensor], chunks: Sequence[int], contexts: Sequence[Tensor] = ()) -> list[Tensor]:
    found = continued_logits(loaded(load(folder / "artifact", threads=1), contexts), rows, chunks, 64)
    assert [len(f) for f in found] == [len(row) for row in rows]
    return found


def check(it: Case, folder: Path) -> None:
    assert worst(continued(it.program, folder, it.rows), it.exact) < it.bound


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_artifact_equals_eager(name: str, tmp_path: Path) -> None:
    check(test_architectures.case(name), tmp_path)
    if name in SAME_BITS:
        check_bits(tmp_path / "artifact", 100)


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_artifact_equals_eager(name: str, tmp_path: Path) -> None:
    check(test_recurrent.case(name), tmp_path)


def test_rings_equal_eager(tmp_path: Path) -> None:
    it = test_architectures.case("gemma3")
    assert worst(continued(ringed("gemma3"), tmp_path, it.rows), it.exact) < it.bound
    check_bits(tmp_path / "artifact", 100)
    for feed in FEEDS.values():
        assert worst(again(tmp_path, it.rows, feed), it.exact) < it.bound


@pytest.mark.parametrize("name", HANDWRITTEN)
def test_handwritten_modules_equal_eager(name: str, tmp_path: Path) -> None:
    model = made(name)
    inputs = example()
    program = shared(f"handwritten {name}", lambda: capture(model, inputs))
    run_passes(program, PIPELINES["cpu"])
    program.metadata.update(vocabulary_size=100, context_length=64)
    rows = [torch.randint(0, 100, (n,)) for _ in range(MANY) for n in LENGTHS]
    with torch.no_grad():
        eager = [model(row[None])[0] for row in rows]
        double = model.double()
        exact = [double(row[None])[0] for row in rows]
    # Four times eager float32's own distance from float64: sums as long, in another order. It is that of many rows, as
    # in models without norms one row's is many times another's.
    found = continued(program, tmp_path, rows[: len(LENGTHS)])
    assert worst(found, exact[: len(LENGTHS)]) < 4 * worst(eager, exact)


@pytest.mark.parametrize("name", BESIDE_A_CONTEXT)
def test_a_context_is_encoded_and_continued(name: str, tmp_path: Path) -> None:
    manual_seed(0)
    model = zoo.scaled(test_encoder_decoder.MODELS[name]())
    source = "input_features" if name == "whisper" else "input_ids"
    given = test_encoder_decoder.contexts(name)
    generator = torch.Generator().manual_seed(6)
    rows = [torch.randint(3, 250, (n,), generator=generator) for n in test_encoder_decoder.LENGTHS]
    example_inputs = {source: given[0][None], "decoder_input_ids": rows[1][None]}
    program = shared(f"beside a context {name}", lambda: capture(model, example_inputs))
    program.metadata.update(vocabulary_size=256, context_length=64)
    run_passes(program, PIPELINES["cpu"])
    chunks = (7, 1, 1, 3, 5)
    expected = continued_logits(interpreted(program, given), rows, chunks, 40)
    found = continued(program, tmp_path, rows, chunks, given)
    largest = max(float(e.abs().max()) for e in expected)
    assert worst(found, expected) < 2.0**-24 * 256 * largest
