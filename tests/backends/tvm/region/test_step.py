"""What a step is given is checked before it runs: nothing is read or written beyond a tensor's end."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from graphwright.backends.plan import Access, Launch, Plan, Stage, Stored
from graphwright.backends.tvm.cpu import GENERIC
from graphwright.backends.tvm.lower import plan_graphs
from graphwright.backends.tvm.region.plan_code import plans_code, streamed_weights
from graphwright.ir import Builder, Graph, Program, ops, tensor
from graphwright.ir.dims import Dim
from graphwright.ir.types import DType, TensorType
from graphwright.ir.weights import StoredArray
from graphwright.runtime.engines.native_library import DOES_NOT_FIT
from tests.backends.tvm.steps import Steps, aligned
from tests.tensors import manual_seed

B, S = 2, 3


def small_graph() -> Graph:
    program = Program("test")
    g = program.add_graph(Graph("step"))
    b = Builder(g)
    x = g.add_input("x", tensor("f32", "B", "S", 4))
    more = g.add_input("more", tensor("f32", "S", 4))
    weight = g.weight(program.add_weight("w", StoredArray.of(torch.arange(4.0))))
    g.outputs = {"y": b(ops.neg, b(ops.mul, b(ops.add, b(ops.exp, x), more), weight))}
    return g


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Steps:
    return Steps([small_graph()], tmp_path_factory.mktemp("step"), GENERIC)


def call(steps: Steps, **changed: Tensor) -> Tensor:
    """The step on sound arguments but for those that are given."""
    manual_seed(3)
    workspace = torch.zeros(steps.workspace("step", {"B": B, "S": S}), dtype=torch.uint8)
    sound = {
        "x": torch.randn(B, S, 4),
        "more": torch.randn(S, 4),
        "y": torch.zeros(B, S, 4),
        "weights": steps.weights,
        "workspace": workspace,
    }
    given = {name: aligned(value) for name, value in sound.items()} | changed
    if steps.call("step", [*given.values()], 1) == DOES_NOT_FIT:
        raise ValueError("it does not fit")
    return given["y"] + (given["x"].exp() + given["more"]) * torch.arange(4.0)


def test_what_fits_runs(steps: Steps) -> None:
    assert call(steps).abs().max() < 1e-5


def shifted(tensor: Tensor) -> Tensor:
    """The same numbers four bytes behind a multiple of 64."""
    memory = aligned(torch.zeros(tensor.numel() + 16, dtype=tensor.dtype))
    return memory[1 : 1 + tensor.numel()].reshape(tensor.shape)


CHANGES: list[Callable[[Steps], dict[str, Tensor]]] = [
    lambda steps: {"x": aligned(torch.zeros(B, S, 4, dtype=torch.float64))},
    lambda steps: {"x": aligned(torch.zeros(B, S, 4, dtype=torch.int32))},
    lambda steps: {"x": aligned(torch.zeros(B, S, 5))},
    lambda steps: {"x": aligned(torch.zeros(B, S))},
    lambda steps: {"x": aligned(torch.zeros(B * S * 4))},
    lambda steps: {"x": aligned(torch.zeros(B, 4, S)).transpose(1, 2)},
    lambda steps: {"x": shifted(torch.zeros(B, S, 4))},
    lambda steps: {"more": aligned(torch.zeros(S + 1, 4))},
    lambda steps: {"y": aligned(torch.zeros(B, S - 1, 4))},
    lambda steps: {"y": aligned(torch.zeros(B - 1, S, 4))},
    lambda steps: {"weights": steps.weights[:-64]},
    lambda steps: {"weights": aligned(torch.cat([steps.weights, steps.weights[:64]]))},
    lambda steps: {"workspace": aligned(torch.zeros(32, dtype=torch.uint8))},
    lambda steps: {"workspace": aligned(torch.zeros(4096, dtype=torch.int32))},
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_does_not_fit_is_refused(steps: Steps, change: Callable[[Steps], dict[str, Tensor]]) -> None:
    with pytest.raises(ValueError, match=r"does not fit|memory that is not dense, or not aligned to 64 bytes"):
        call(steps, **change(steps))


def planned() -> Plan:
    return plan_graphs([small_graph()], GENERIC).plans["step"]


def test_a_plan_is_a_table_whose_code_does_not_grow_with_it() -> None:
    plan = planned()
    code = plans_code([plan], ["B", "S"], 4096, {"patience": 2000, "ahead": 0})
    assert code.count("    {call_") == len([*plan.stages])
    twice = Plan(plan.graph, {}, plan.parameters, plan.placement, plan.launches * 2, plan.slots, plan.slot_of)
    grown = plans_code([twice], ["B", "S"], 4096, {"patience": 2000, "ahead": 0}).splitlines()
    added = len(grown) - len(code.splitlines())
    assert added == sum(1 + len(stage.accesses) + len(stage.sizes) for stage in plan.stages)


def stored(rows: int, columns: int, offset: int) -> Access:
    buffer = Stored("w", TensorType(DType.U8, (Dim.of(rows), Dim.of(columns))), "w", offset)
    return Access(buffer, reads=True, writes=False)


def test_threads_that_wait_know_the_weights_that_are_read_next() -> None:
    """Those of the first stage from there on that streams weights: the largest of them."""
    plan = planned()
    waits, alone = Stage("waits", None, (), (), waits=True), Stage("alone", None, (), ())
    product = Stage("product", Dim.of(3), (stored(6, 8, 64), stored(6, 100, 128)), (), waits=True)
    ragged = Stage("ragged", Dim.of(4), (stored(6, 100, 0),), (), waits=True)
    wide = Stage("wide", Dim.of(2), (stored(10, 64, 4096),), (), waits=True)
    op = plan.launches[0].op
    launches = (
        Launch(op, (waits, alone), "rms_norm"),
        Launch(op, (alone, product), "rounded_linear"),
        Launch(op, (ragged,), "rounded_linear"),
        Launch(op, (wide,), "linear"),
        Launch(op, (wide, waits), "rounded_linear"),
    )
    streams, coming = streamed_weights(Plan(plan.graph, {}, plan.parameters, plan.placement, launches))
    assert streams == ["{4096, 64, 2, 5}", "{128, 100, 3, 2}"]
    assert coming == [1, -1, -1, 1, 0, 0, 0, -1]


def test_a_library_needs_libc_alone(tmp_path: Path) -> None:
    """Kernels of which TVM's code asks for memory, and for functions of the mathematics library, are among these."""
    program = Program("test")
    g = program.add_graph(Graph("step"))
    b = Builder(g)
    x = g.add_input("x", tensor("f32", "B", 40))
    g.outputs = {"y": b(ops.softmax, b(ops.log1p, x), axis=-1), "z": b.op(ops.topk, x, k=3, axis=-1).results[0]}
    Steps([g], tmp_path)
    library = str(tmp_path / "steps.so")

    def lines(*command: str) -> list[str]:
        return subprocess.run([*command, library], capture_output=True, text=True, check=True).stdout.splitlines()

    needed = {line.split("[")[1].rstrip("]") for line in lines("readelf", "-d") if "(NEEDED)" in line}
    assert needed <= {"libc.so.6", "libm.so.6"}
    undefined = [line.split()[-1] for line in lines("nm", "-D", "--undefined-only") if " U " in line]
    assert undefined
    assert all("@GLIBC_" in symbol for symbol in undefined)
    exported = {line.split()[-1] for line in lines("nm", "-D", "--defined-only")}
    assert exported == {"graphwright_step_step", "graphwright_workspace_step"}
