"""Whole models against the original modules in eager mode: prefill, chunks, decode, ragged rows, past every window.

As the interpreter runs them, and through the ONNX backend in both dialects.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.coverage.continuation import continued_logits
from benchmarks.coverage.engines import interpreted, loaded
from benchmarks.coverage.reference import worst
from graphwright.compiling.lowering import build_artifact
from graphwright.ir import parse_program, print_program, verify
from graphwright.runtime import load
from tests.frontend.compare import assert_round_trip, assert_same_function
from tests.marks import full
from tests.models.case import CHUNKS, LENGTHS, Case
from tests.models.zoo import CONFIGURATIONS, NAMED, make


@cache
def case(name: str) -> Case:
    return Case(f"architecture {name}", make(name))


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_captured_at_lengths_that_were_not_traced(name: str) -> None:
    program, model = case(name).captured, make(name)
    assert_same_function(program, model)
    assert_round_trip(program)
    assert program.metadata["architecture"] == type(model).__name__
    assert program.metadata["parameters"] == sum(p.numel() for p in model.parameters())
    assert program.metadata["vocabulary_size"] == 256
    assert program.metadata["context_length"] == 512
    config: Any = model.config
    assert program.metadata["bos_token_ids"] == (config.bos_token_id,)
    assert program.metadata["eos_token_ids"] == (config.eos_token_id,)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_continuation_equals_eager(name: str) -> None:
    it = case(name)
    found = continued_logits(interpreted(it.program), it.rows, CHUNKS, 40)
    assert [len(f) for f in found] == list(LENGTHS)
    assert worst(found, it.exact) < it.bound


@pytest.mark.parametrize(
    ("name", "dialect"),
    [
        *((name, "ort") for name in CONFIGURATIONS),
        *((name, "portable") if name in NAMED else full(name, "portable") for name in CONFIGURATIONS),
    ],
)
def test_artifact_equals_eager(name: str, dialect: str, tmp_path: Path) -> None:
    """Run by the runtime over shared caches."""
    it = case(name)
    build_artifact(it.program, tmp_path / "artifact", dialect=dialect)
    found = continued_logits(loaded(load(tmp_path / "artifact", threads=1)), it.rows, CHUNKS, 64)
    assert [len(f) for f in found] == list(LENGTHS)
    assert worst(found, it.exact) < it.bound


@pytest.mark.parametrize("name", NAMED)
def test_the_bound_rejects_one_rounding_to_ten_bits(name: str) -> None:
    """A TF32-like rounding of one layer's projection weights is an error that the comparison above must see."""
    it = case(name)
    program = it.program.clone()
    projections = [op for op in program.graphs["prefill"] if op.name == "linear"]
    weight = projections[len(projections) // 2].required("weight").weight
    assert weight is not None

    class Rounded:
        def __getattr__(self, attribute: str) -> object:
            return getattr(original, attribute)

        def evaluate(self) -> Tensor:
            bits = original.evaluate().contiguous().view(torch.int32)
            return ((bits + (1 << 12)) & ~((1 << 13) - 1)).view(torch.float32)

    original = weight.expression
    try:
        weight.expression = Rounded()  # type: ignore[assignment]  # a stand-in for the stored weight
        found = continued_logits(interpreted(program), it.rows, CHUNKS, 40)
    finally:
        weight.expression = original
    assert worst(found, it.exact) > it.bound


@pytest.mark.parametrize("name", NAMED)
def test_every_layer_is_raised(name: str) -> None:
    it = case(name)
    counts: dict[str, int] = {}
    for op in it.program.graphs["prefill"]:
        counts[op.name] = counts.get(op.name, 0) + 1
    config: Any = make(name).config
    layers = config.num_hidden_layers
    assert counts["attention"] == layers
    assert counts["kv_append"] == 2 * layers
    assert counts["split_heads"] == 3 * layers
    assert counts["merge_heads"] == layers
    primitives = {"softmax", "matmul", "where", "expand", "cos", "sin", "concat", "slice", "rsqrt", "tanh"}
    assert not primitives & counts.keys()
    if name == "gpt2":
        assert counts["layer_norm"] == 2 * layers + 1
        assert counts["activation"] == layers
        assert counts["linear"] == 4 * layers + 1
        assert counts["split"] == layers
    else:
        norms = {"qwen3": 4, "gemma2": 4}.get(name, 2)
        assert counts["rms_norm"] == norms * layers + 1
        assert counts["glu"] == layers
        assert counts["rope"] == 2 * layers
        assert counts["linear"] == 4 * layers + 1
        assert counts["split"] == 2 * layers


@pytest.mark.parametrize("name", NAMED)
def test_text_round_trip(name: str) -> None:
    text = print_program(case(name).program)
    again = parse_program(text)
    verify(again)
    assert print_program(again) == text
