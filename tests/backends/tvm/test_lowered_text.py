"""The text of a lowered program has the weights of the program, as they are read from the artifact's file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from graphwright.backends.lowered_text import lowered_text, stored_weights, with_unpacked
from graphwright.backends.tvm.cpu import host_cpu
from graphwright.backends.tvm.emit import KernelModule, emit_graph
from graphwright.backends.tvm.library import CPU
from graphwright.backends.tvm.library.layouts import LAYOUTS
from graphwright.backends.weights_file import plan_weights, write_weights
from graphwright.compiling.lowering import lowered
from graphwright.ir import Program, parse_program, verify
from graphwright.ir.weights import Weight
from graphwright.passes.lowering.cpu import cpu_lowering
from graphwright.passes.lowering.decoders import PHASES
from tests.backends.models import LLAMA, decoder
from tests.backends.quantizing import Scheme, quantized
from tests.ir.quantized_types import dequantized

ONE = replace(LLAMA, layers=1)
SCHEMES = {
    "w4a8": Scheme("i4", 32, 32, table=True),
    "minimum": Scheme("u4", 16, table=True, scale="f16", minimum=True),
    "asymmetric": Scheme("u4", 16, table=True, scale="f16"),
    "bytes": Scheme("u8", 0),
    "nvfp4": Scheme("f4e2m1", 16, scale="f8e4m3", table=True),
    "mxfp4": Scheme("f4e2m1", 32, scale="f8e8m0"),
    "fp8": Scheme("f8e4m3", 0),
}


def numbers(weight: Weight) -> torch.Tensor:
    return dequantized(weight.evaluate(), torch.float32)


def read_back(program: Program, folder: Path) -> tuple[Program, Program]:
    """The program lowered, and what its text says of it."""
    program, _ = lowered(program, (*PHASES, *cpu_lowering(CPU)))
    module, weights = KernelModule(host_cpu()), dict[str, Weight]()
    for graph in program.graphs.values():
        emit_graph(graph, module, weights)
    file = folder / "weights.safetensors"
    stored = list(weights.values())
    write_weights(file, stored, plan_weights(stored))
    text = lowered_text(program, with_unpacked(program, stored_weights(stored, str(file)), LAYOUTS))
    found = parse_program(text)
    verify(found)
    return program, found


@pytest.mark.parametrize("name", ["floats", *SCHEMES])
def test_weights_are_those_of_the_program(name: str, tmp_path: Path) -> None:
    program = decoder(replace(ONE, tied=name == "floats"))
    lowered_program, found = read_back(quantized(program, SCHEMES[name]) if name in SCHEMES else program, tmp_path)
    weights = {v.weight.name: v.weight for g in lowered_program.graphs.values() for v in g.weights if v.weight}
    assert found.weights.keys() == weights.keys()
    for key, weight in weights.items():
        assert torch.equal(numbers(found.weights[key]), numbers(weight)), key
