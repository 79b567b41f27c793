"""Caches of codes as machine code: attention reads them, and appending writes them, without floats in between."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from graphwright.backends.tvm.library import CPU
from graphwright.compiling.lowering import build_artifact, lowered
from graphwright.ir import Dim, Program, StateType, UnsupportedError, ops
from graphwright.ir.dialects.cpu.packed_caches import dequantize_packed
from graphwright.ir.graph import Graph
from graphwright.passes import parse_passes, run_passes
from graphwright.passes.lowering.cpu import cpu_lowering
from tests.backends.models import MODELS, decoder
from tests.backends.running import continued, vocabulary
from tests.backends.ties import follow
from tests.backends.tvm.bits import check_bits
from tests.backends.tvm.stepping import Stepping

ONE = Dim.of(1)
STEPS = [(6, [6, 2]), (1, [1, 1]), (4, [4, 3]), (1, [1, 1])]
"""New tokens of a step, padding included, and how many of each row are real: prefill, decode, verify, decode."""


def coded(name: str, spec: str, folder: Path) -> Program:
    """One layer of a decoder, its caches of codes."""
    path = folder / "tokens.npy"
    np.save(path, np.random.default_rng(1).integers(0, 48, (6, 24)))
    program = decoder(replace(MODELS[name], layers=1))
    run_passes(program, parse_passes(f"quantize-cache{{{spec}, tokens={path}}}"))
    return program


def reads_of_caches(graph: Graph) -> list[str]:
    """The names of the ops that make floats of what a cache holds."""
    held = {v for v in graph.inputs if isinstance(v.type, StateType) and v.type.dtype.is_integer}
    for op in graph:
        if held.intersection(op.inputs):
            held.update(v for v in op.results if v.tensor.dtype.is_integer)
    return [op.name for op in graph if op.definition is ops.dequantize_tensor and held.intersection(op.inputs)]


@pytest.mark.parametrize("spec", ["bits=8, keys=tensor, values=token", "bits=8"])
@pytest.mark.parametrize("name", ["llama", "qwen3", "unpacked", "gpt2", "alibi"])
def test_no_op_of_a_lowered_decode_makes_floats_of_a_cache(name: str, spec: str, tmp_path: Path) -> None:
    program = coded(name, spec, tmp_path)
    assert len(reads_of_caches(program.graphs["decode"])) == 2
    after, report = lowered(program, cpu_lowering(CPU))
    for graph in after.graphs.values():
        assert not reads_of_caches(graph)
        assert not [op for op in graph if op.definition is ops.dequantize_tensor]
    packed = name not in ("qwen3", "unpacked")
    assert (report.hits["cpu.rotary_append"] == len(after.graphs)) == packed


def test_machine_code_equals_the_interpreter_and_its_bits_depend_on_a_row_alone(tmp_path: Path) -> None:
    program = coded("llama", "bits=8, values=token", tmp_path)
    report = build_artifact(program, tmp_path / "a", "tvm").lowering
    assert report.hits["cpu.attention: codes inside"] == 2 * 3, "keys and values of each phase"
    for ids, logits in continued(Stepping(tmp_path / "a", 2, 24), STEPS, vocabulary(program)):
        follow(program.graphs["prefill"], ids, logits)
    check_bits(tmp_path / "a", vocabulary(program))


def test_halves_are_read_and_written_as_they_are_and_their_bits_depend_on_a_row_alone(tmp_path: Path) -> None:
    program = decoder(replace(MODELS["llama"], layers=1))
    run_passes(program, parse_passes("halve-cache"))
    after, report = lowered(program, cpu_lowering(CPU))
    for graph in after.graphs.values():
        assert not [op for op in graph if op.definition is ops.cast]
    assert report.hits["cpu.rotary_append"] == len(after.graphs)
    build_artifact(program, tmp_path / "a", "tvm")
    for ids, logits in continued(Stepping(tmp_path / "a", 2, 24), STEPS, vocabulary(program)):
        follow(program.graphs["prefill"], ids, logits)
    check_bits(tmp_path / "a", vocabulary(program))


@pytest.mark.parametrize("name", ["llama", "unpacked"])
def test_codes_of_four_bits_are_two_in_a_byte_and_their_bits_depend_on_a_row_alone(name: str, tmp_path: Path) -> None:
    program = coded(name, "bits=4, values=token", tmp_path)
    after, report = lowered(program, cpu_lowering(CPU))
    held = [v.tensor for v in after.graphs["decode"].inputs if isinstance(v.type, StateType)]
    assert [str(type) for type in held if type.shape[3] is not ONE] == ["u8[B, 2, C, 8]"] * 2
    for graph in after.graphs.values():
        assert not [op for op in graph if op.definition is dequantize_packed]
    assert report.hits["cpu.attention: codes inside"] == 2 * len(after.graphs)
    assert report.hits["cpu.rotary_append"] == (len(after.graphs) if name == "llama" else 0)
    build_artifact(program, tmp_path / "a", "tvm")
    for ids, logits in continued(Stepping(tmp_path / "a", 2, 24), STEPS, vocabulary(program)):
        follow(program.graphs["prefill"], ids, logits)
    check_bits(tmp_path / "a", vocabulary(program))


def test_codes_of_four_bits_that_are_no_whole_bytes_are_refused_and_a_near_miss_says_why(tmp_path: Path) -> None:
    path = tmp_path / "tokens.npy"
    np.save(path, np.random.default_rng(1).integers(0, 48, (6, 24)))
    program = decoder(replace(MODELS["llama"], layers=1, head_size=15))
    run_passes(program, parse_passes(f"quantize-cache{{bits=4, tokens={path}}}"))
    _, report = lowered(program, cpu_lowering(CPU))
    reasons = {(miss.rule, miss.reason) for miss in report.near_misses}
    assert ("packed-caches", "15 codes of four bits are not a whole number of bytes") in reasons
    with pytest.raises(UnsupportedError, match="the TVM backend has no tensors of i4"):
        build_artifact(program, tmp_path / "a", "tvm")
