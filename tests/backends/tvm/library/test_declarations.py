"""The kernels of this backend as they are declared: what they take, and that they can be asked without TVM."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from graphwright.backends.tvm.cpu import AVX2
from graphwright.backends.tvm.emit import elementwise
from graphwright.backends.tvm.library import CPU, library_for, loops
from graphwright.ir import DType, Program, ops, print_program
from graphwright.ir.declare import REGISTRY
from graphwright.ir.dialects.cpu.norms import add_rms_norm
from graphwright.ir.dialects.cpu.packed_weights import OF_WEIGHTS
from graphwright.ir.dialects.cpu.quantized import rounded_linear
from graphwright.ir.graph import Graph
from graphwright.ir.text import parse_type
from graphwright.ir.weights import Applied, StoredArray
from tests.ir.cases import Case
from tests.passes.graphs import program

ROOT = Path(__file__).parents[4]
LIBRARY = library_for(AVX2)
ATTENTION = """(%q: f32[B, 2, S, 8], %p: i64[B, S]) {
  %a = attention(%q, %q, %q, %p) {scale=0.5, mask="causal"} : f32[B, 2, S, 8]
  return y=%a
}"""


def test_every_op_of_the_dialect_has_a_kernel() -> None:
    declared = {definition for name, definition in REGISTRY.items() if name.startswith("cpu.")}
    assert declared - OF_WEIGHTS <= {kernel.op for kernel in LIBRARY.kernels}


def test_every_kernel_has_a_body() -> None:
    assert all(callable(kernel.load()) for kernel in LIBRARY.kernels)
    assert {*loops.ELEMENTWISE, ops.pow} == elementwise.FUNCTIONS.keys()


def test_kernels_are_declared_and_graphs_lowered_without_tvm() -> None:
    """In a process in which TVM cannot be imported: the list of passes, one of them by name, and the whole pipeline."""
    script = """
import sys

sys.modules["tvm"] = sys.modules["tvm_ffi"] = None
from graphwright.cli import main
from graphwright.compiling.targets import find_pipeline

assert [str(each) for each in find_pipeline("cpu-tvm")][-1] == "cpu-copies"
sys.argv = ["graphwright", "opt", "-", "--passes", "cpu-attention,cpu-heads-as-views"]
main()
"""
    text = print_program(program(ATTENTION))
    done = subprocess.run([sys.executable, "-c", script], input=text, capture_output=True, text=True, cwd=ROOT)
    assert "cpu.attention" in done.stdout, done.stderr


def product(weight_group: int, group: int) -> str | None:
    """What the table says of a product with a stored weight of four bits."""
    program = Program("test")
    graph = program.add_graph(Graph())
    x = graph.add_input("x", parse_type("f32[B, 64]"))
    numbers = StoredArray.of(torch.ones(6, 64))
    codes = Applied.of(ops.round_to_nearest, (numbers,), {"to": DType.I4, "group": weight_group})
    weight = graph.weight(program.add_weight("w", codes))
    return CPU.refusal(graph.insert(rounded_linear, [x, weight], {"group": group}))


def test_the_table_says_which_groups_are_multiplied() -> None:
    assert [product(32, group) for group in (0, 16, 32, 64)] == [None] * 4
    assert product(32, 24) == "cpu: no kernel multiplies groups of 32 by groups of 24"
    assert product(32, 4) == "cpu: no kernel multiplies groups of 32 by groups of 4"
    assert product(4, 0) == "cpu: groups of 4 are not made of steps of 8 codes"


def test_kernels_of_float32_refuse_others() -> None:
    wide = Case(add_rms_norm, ("f64[B, 16]", "f64[B, 16]", "f64[16]"), {"epsilon": 1e-5}).build()
    assert CPU.refusal(wide) == "cpu takes no f64 in cpu.add_rms_norm"
    computed = Case(rounded_linear, ("f32[B, 64]", "q4<g32, sym>[6, 64]")).build()
    assert CPU.refusal(computed) == "cpu: its weight is computed in the graph"
    assert DType.F64 not in LIBRARY.kernel("add_rms_norm").dtypes
