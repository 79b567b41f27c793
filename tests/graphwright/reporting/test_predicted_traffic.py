"""The proof of prices by count: predicted traffic is what the interpreter moves, predicted weights are what the files
have, predicted caches are the buffers that the runtime binds.

Weights are predicted for the program that was lowered, since lowering adds tables of rotations and pads.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch

from benchmarks.prices import bound_bytes, counted_bytes, predicted_bytes, stored_weights
from graphwright.compiling.compiled import CompiledModel
from graphwright.compiling.lowering import build_artifact
from graphwright.compiling.targets import with_cache_layout
from graphwright.frontend import capture
from graphwright.ir import Program
from graphwright.passes import PIPELINES, run_passes
from graphwright.reporting.pipeline_report import Workload
from graphwright.reporting.pricing import memory_points, price_program, weight_bytes
from tests.models import handwritten, test_architectures, test_recurrent, zoo
from tests.models.test_encoder_decoder import bart
from tests.tensors import manual_seed

WORKLOADS = [
    Workload(batch=1, prefill_length=5, decode_context=6),
    Workload(batch=2, prefill_length=17, decode_context=23),
]
MODELS = ("llama", "Windowed", "gemma2", "mamba2")
"""Grouped queries; a hand-written window; rings beside other caches; recurrent states."""


@cache
def captured(name: str) -> Program:
    manual_seed(0)
    if name in handwritten.MODELS:
        program = capture(handwritten.MODELS[name]().eval(), (torch.randint(0, 100, (2, 11)),))
        program.metadata.update(vocabulary_size=100, context_length=64)
        return program
    if name == "bart":
        return capture(bart())
    return (test_architectures if name in zoo.CONFIGURATIONS else test_recurrent).case(name).captured.clone()


def after(name: str, pipeline: str) -> Program:
    program = captured(name).clone()
    run_passes(program, with_cache_layout(PIPELINES[pipeline], "ring" if name == "gemma2" else "contiguous"))
    return program


def agree(program: Program) -> None:
    for workload in WORKLOADS:
        prices = price_program(program, workload, None)
        assert {phase: predicted_bytes(price) for phase, price in prices.items()} == counted_bytes(program, workload)


@pytest.mark.parametrize("name", [*MODELS, "bart"])
def test_predicted_traffic_is_the_interpreters_count(name: str) -> None:
    agree(captured(name))
    agree(after(name, "default"))


@pytest.mark.parametrize(("name", "dialect"), [*((name, "ort") for name in MODELS), ("gemma2", "portable")])
def test_an_artifact_is_as_large_as_predicted(name: str, dialect: str, tmp_path: Path) -> None:
    program = after(name, "cpu")
    agree(program)
    build_artifact(program, tmp_path / "artifact", dialect=dialect)
    model = CompiledModel(tmp_path / "artifact", threads=1)
    lowered = model.graph
    agree(lowered)
    stored = list(stored_weights(model))
    assert [row.predicted for row in stored] == [row.counted for row in stored]
    assert sum(row.counted for row in stored) == weight_bytes(lowered)
    for workload in WORKLOADS:
        (point,) = memory_points(lowered, workload, [workload.decode_context])
        assert point.cache == bound_bytes(model, workload.batch, workload.decode_context)


def test_of_experts_the_price_is_what_tokens_may_choose_and_no_less_than_they_do() -> None:
    program = after("mixtral", "cpu")
    one, two = WORKLOADS
    # One token chooses different experts, so there the price is exact.
    assert predicted_bytes(price_program(program, one, None)["decode"]) == counted_bytes(program, one)["decode"]
    counted = counted_bytes(program, two)
    for phase, price in price_program(program, two, None).items():
        predicted = predicted_bytes(price)
        assert predicted["weight"] >= counted[phase]["weight"]
        assert predicted == counted[phase] | {"weight": predicted["weight"]}
