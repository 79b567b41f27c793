"""Every kind of decoder in both dialects against the interpreter: ragged prompts, chunks with a past, decode steps."""

from pathlib import Path

import numpy as np
import pytest
import torch

from graphwright.compiling.lowering import build_artifact
from graphwright.ir import Program
from graphwright.ir.weights import StoredArray
from tests.backends.models import MODELS, decoder
from tests.backends.running import InPlace, Reference, close_enough, prefill_inputs, vocabulary

BATCH, CAPACITY = 3, 26
STEPS = [(6, [6, 2, 4]), (1, [1, 1, 1]), (5, [3, 5, 1]), (1, [1, 1, 1]), (4, [1, 4, 2]), (1, [1, 1, 1])]
"""New tokens of a step, padding included, and how many of each row are real."""


@pytest.mark.parametrize("dialect", ["ort", "portable"])
@pytest.mark.parametrize("name", MODELS)
def test_compiled_model_equals_the_interpreter(name: str, dialect: str, tmp_path: Path) -> None:
    program = decoder(MODELS[name])
    build_artifact(program, tmp_path / "model", dialect=dialect)
    graph = program.graphs["prefill"]
    compiled = InPlace(tmp_path / "model" / "model.onnx", graph, BATCH, CAPACITY)
    reference = Reference(graph, BATCH, CAPACITY)
    random = np.random.default_rng(7)
    past = np.zeros(BATCH, np.int64)
    for length, real in STEPS:
        new = np.array(real)
        inputs = prefill_inputs(random.integers(0, vocabulary(program), (BATCH, length)), past, new)
        got, expected = compiled.step(inputs), reference.step(inputs)
        assert got.shape == expected.shape
        for row in range(BATCH):
            g, e = got[row, : new[row]], expected[row, : new[row]]
            assert np.abs(g - e).max() <= close_enough(e), f"row {row} of a step of {length} tokens after {past}"
        past = past + new
    for cache, buffer in compiled.buffers.items():
        ours, theirs = buffer.numpy(), reference.caches[cache].numpy()
        for row in range(BATCH):
            kept = theirs[row, :, : past[row]]
            assert np.abs(ours[row, :, : past[row]] - kept).max() <= close_enough(kept), cache


@pytest.mark.parametrize("weight", ["layers.0.qkv.weight", "layers.1.down.weight", "head.weight"])
def test_the_bound_rejects_one_operand_in_tf32(weight: str) -> None:
    program = decoder(MODELS["llama"])
    rounded = _with_tf32(program, weight)
    ids = np.random.default_rng(7).integers(0, vocabulary(program), (1, 6))
    inputs = prefill_inputs(ids, np.zeros(1, np.int64), np.array([6]))
    exact, coarse = (Reference(p.graphs["prefill"], 1, 8).step(inputs) for p in (program, rounded))
    assert np.abs(exact - coarse).max() > 4 * close_enough(exact)


def _with_tf32(program: Program, name: str) -> Program:
    """The program with one weight's significands rounded to the 11 bits that TF32 keeps."""
    copy = decoder(MODELS["llama"])
    value = program.weights[name].evaluate()
    bits = value.view(torch.int32)
    copy.weights[name].expression = StoredArray.of(((bits + 0x1000) & ~0x1FFF).view(torch.float32))
    return copy


def test_more_capacity_than_needed_changes_nothing(tmp_path: Path) -> None:
    program = decoder(MODELS["llama"])
    build_artifact(program, tmp_path / "model")
    graph = program.graphs["prefill"]
    inputs = prefill_inputs(np.array([[1, 2, 3, 4]]), np.zeros(1, np.int64), np.array([4]))
    tight, roomy = (InPlace(tmp_path / "model" / "model.onnx", graph, 1, c).step(inputs) for c in (4, 50))
    assert np.array_equal(tight, roomy)


@pytest.mark.parametrize("dialect", ["ort", "portable"])
def test_garbage_behind_the_rows_is_never_read(dialect: str, tmp_path: Path) -> None:
    program = decoder(MODELS["gemma2"])
    build_artifact(program, tmp_path / "model", dialect=dialect)
    graph, model = program.graphs["prefill"], tmp_path / "model" / "model.onnx"
    inputs = prefill_inputs(np.array([[1, 2, 3], [4, 5, 6]]), np.zeros(2, np.int64), np.array([3, 3]))
    clean, dirty = InPlace(model, graph, 2, 8), InPlace(model, graph, 2, 8)
    for buffer in dirty.buffers.values():
        buffer.update_inplace(np.full(buffer.shape(), 1e4, np.float32))
    assert np.array_equal(clean.step(inputs), dirty.step(inputs))
