"""Which kernels a lowered graph calls, and that models of fused kernels are as the interpreter has them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from graphwright.backends.tvm.cpu import host_cpu
from graphwright.backends.tvm.emit import KernelModule, emit_graph
from graphwright.backends.tvm.library import CPU
from graphwright.compiling.lowering import build_artifact
from graphwright.ir import Graph, Program, ops
from graphwright.passes import run_passes
from graphwright.passes.lowering.cpu import cpu_lowering
from tests.backends.models import LLAMA, MODELS, decoder
from tests.backends.quantizing import Scheme, quantized
from tests.backends.running import Reference, close_enough, prefill_inputs, vocabulary
from tests.backends.tvm.stepping import Stepping

ONE = replace(LLAMA, layers=1)
CAPACITY = 24
STEPS = [(6, [6, 2]), (1, [1, 1]), (4, [4, 3]), (1, [1, 1])]
"""New tokens of a step, padding included, and how many of each row are real: prefill, decode, verify, decode."""


def kernels(program: Program, name: str = "prefill") -> Counter[str]:
    """How often a graph's function calls each kernel once it is lowered, numbers of variants left off."""
    run_passes(program, cpu_lowering(CPU))
    emitted = emit_graph(program.graphs[name], KernelModule(host_cpu()), {})
    calls = [call for launch in emitted.launches for call in launch.calls]
    return Counter(re.sub(r"_[0-9a-f]{16}$", "", call.kernel) for call in calls)


@pytest.mark.parametrize("graph", ["prefill", "decode"])
def test_a_layer_is_nine_kernels_in_every_phase(graph: str) -> None:
    layer = {"rotary_append": 1, "attention": 1, "add_rms_norm": 1, "packed_glu": 1, "linear": 5, "rms_norm": 2}
    step = {"embedding_rows": 1, "iota": 1, "rotary_table": 1, "add": 3, "take_tokens": 1}
    assert kernels(decoder(ONE), graph) == layer | step


def test_rounding_is_inside_products() -> None:
    called = kernels(quantized(decoder(ONE), Scheme("i4", 32, 32)))
    assert (called["quantized_linear"], called["fake_quantize"], called["linear"]) == (5, 0, 0)


def test_another_result_of_the_split_is_still_copied() -> None:
    program = decoder(ONE)
    graph: Graph = program.graphs["prefill"]
    glu = next(op for op in graph if op.definition is ops.glu)
    packed = glu.inputs[0].owner
    assert packed is not None
    sizes = (40, 40, 112)
    gate, up, other = graph.insert(ops.split, packed.inputs, {"axis": 2, "sizes": sizes}, before=glu).results
    small = graph.insert(ops.glu, [gate, up], {"kind": "silu"}, before=glu).result
    graph.outputs |= {"small": small, "other": other}
    called = kernels(program)
    assert (called["packed_glu"], called["split"]) == (2, 1)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_models_of_fused_kernels_equal_the_interpreter(name: str, tmp_path: Path) -> None:
    program = decoder(replace(MODELS[name], layers=1))
    build_artifact(program, tmp_path / "a", "tvm")
    graph = program.graphs["prefill"]
    random = np.random.default_rng(5)
    for batch in (1, 2):
        compiled, reference = Stepping(tmp_path / "a", batch, CAPACITY), Reference(graph, batch, CAPACITY)
        past = np.zeros(batch, np.int64)
        for length, real in STEPS:
            new = np.array(real[:batch])
            inputs = prefill_inputs(random.integers(0, vocabulary(program), (batch, length)), past, new)
            got, expected = compiled.step(inputs), reference.step(inputs)
            for row in range(batch):
                g, e = got[row, : new[row]], expected[row, : new[row]]
                assert np.abs(g - e).max() <= close_enough(e), f"row {row} of {length} tokens after {past}"
            past = past + new
