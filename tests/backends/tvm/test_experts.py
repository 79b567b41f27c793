"""Mixtures of experts of the transformers library as machine code, against eager and the interpreter."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from benchmarks.coverage.continuation import continued_logits
from benchmarks.coverage.engines import interpreted, loaded
from benchmarks.coverage.reference import worst
from graphwright.compiling.lowering import build_artifact
from graphwright.ir import Program, QuantizedType
from graphwright.passes import parse_passes, run_passes
from graphwright.runtime import load
from tests.backends.tvm.bits import check_bits
from tests.frontend.zoo import tiny
from tests.marks import full
from tests.models import test_architectures
from tests.models.case import CHUNKS, Case


@cache
def case(name: str) -> Case:
    return Case(f"mixture {name}", tiny(name)) if name == "qwen2_moe" else test_architectures.case(name)


def quantized(name: str, options: str) -> Program:
    program = case(name).program.clone()
    run_passes(program, parse_passes(f"quantize-weights{{{options}}}"))
    stacks = [w for n, w in program.weights.items() if n.endswith(".quantized") and w.type.rank == 3]
    assert stacks
    assert all(isinstance(stack.type, QuantizedType) for stack in stacks)
    return program


@pytest.mark.parametrize("name", ["qwen2_moe", full("mixtral")])
def test_experts_of_floats_equal_eager(name: str, tmp_path: Path) -> None:
    it = case(name)
    build_artifact(it.program, tmp_path / "a", "tvm")
    found = continued_logits(loaded(load(tmp_path / "a", threads=1)), it.rows, CHUNKS, 64)
    assert worst(found, it.exact) < it.bound
    check_bits(tmp_path / "a", 250)


@pytest.mark.parametrize(
    ("name", "options"),
    [("gpt_oss", "to=i4, group=32"), full("mixtral", "to=u4, group=32"), full("qwen2_moe", "to=i8, group=0")],
)
def test_experts_of_codes_equal_the_interpreter(name: str, options: str, tmp_path: Path) -> None:
    it, program = case(name), quantized(name, options)
    build_artifact(program, tmp_path / "a", "tvm")
    expected = continued_logits(interpreted(program), it.rows, CHUNKS, 64)
    found = continued_logits(loaded(load(tmp_path / "a", threads=1)), it.rows, CHUNKS, 64)
    # Both are as far from exact numbers as eager is.
    assert worst(found, expected) < 2 * it.bound
    check_bits(tmp_path / "a", 250)


def test_experts_of_minimums_are_multiplied_as_floats(tmp_path: Path) -> None:
    it, program = case("gpt_oss"), quantized("gpt_oss", "to=u4, group=32, minimum=true")
    report = build_artifact(program, tmp_path / "a", "tvm")
    misses = {m.reason for record in report.lowering.records for m in record.near_misses}
    assert any("no kernel multiplies experts by the minimums of q4<g32, min>" in reason for reason in misses)
    expected = continued_logits(interpreted(program), it.rows, CHUNKS, 64)
    found = continued_logits(loaded(load(tmp_path / "a", threads=1)), it.rows, CHUNKS, 64)
    assert worst(found, expected) < 2 * it.bound
