"""Relax functions as schedules."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import GENERIC
from graphwright.backends.tvm.lower import relax_module
from graphwright.backends.tvm.region import Linearizer, flatten, schedule_tail, split_kernel
from graphwright.backends.tvm.region.schedule import Given, Schedule, Stored, Temporary
from graphwright.backends.tvm.target import llvm_target
from graphwright.backends.tvm.tvm_library import tirx, tvm
from graphwright.ir import Builder, DType, Graph, Program, StateType, ops, tensor
from graphwright.ir.weights import StoredArray


def scheduled(graph: Graph) -> Schedule:
    module, (emitted,), weights = relax_module([graph], GENERIC)
    functions = {name.name_hint: f for name, f in module.functions_items()}
    code = {tvm.ir.GlobalVar(n): f for n, f in functions.items() if isinstance(f, tirx.PrimFunc)}
    flat = flatten(schedule_tail(tvm.IRModule(code)), llvm_target(GENERIC))
    kernels = {name.name_hint: split_kernel(name.name_hint, f) for name, f in flat.functions_items()}
    offsets = {name: 64 * n for n, name in enumerate(weights)}
    return Linearizer(emitted, functions[emitted.name], kernels, offsets).schedule(sorted(graph.symbols))


def described(schedule: Schedule) -> list[tuple[str, list[str]]]:
    def place(each: Any) -> str:
        match each:
            case Given(name):
                return name
            case Stored(offset):
                return f"weights+{offset}"
            case Temporary():
                return "temporary"

    return [(call.kernel.name, [place(each) for each in call.places.values()]) for call in schedule.calls]


def small_graph() -> Graph:
    import torch

    program = Program("test")
    g = program.add_graph(Graph("step"))
    b = Builder(g)
    x = g.add_input("x", tensor("f32", "B", "S", 4))
    weight = g.weight(program.add_weight("w", StoredArray.of(torch.ones(4))))
    y = b(ops.mul, b(ops.exp, x), weight)
    g.outputs = {"y": b(ops.reshape, b(ops.neg, y), shape=(x.type.shape[0] * x.type.shape[1], 4)), "z": y}
    return g


def test_outputs_are_written_where_the_caller_wants_them() -> None:
    calls = described(scheduled(small_graph()))
    assert [places for _, places in calls] == [
        ["x", "temporary"],
        ["temporary", "weights+0", "z"],
        ["z", "y"],  # through a view of it
    ]


def test_sizes_are_expressions_over_the_steps_own() -> None:
    schedule = scheduled(small_graph())
    names = {str(size) for call in schedule.calls for size in call.sizes.values()}
    assert names == {"B", "S"}
    (temporary,) = {p for p in schedule.calls[0].places.values() if isinstance(p, Temporary)}
    assert {v.name for v in tirx.analysis.undefined_vars(tirx.Evaluate(temporary.bytes), [])} == {"B", "S"}
    assert list(schedule.dimensions) == ["B", "S"]


def test_a_contiguous_cache_is_changed_in_place() -> None:
    g = Graph("step")
    b = Builder(g)
    cache = g.add_input("past.0.key", StateType("contiguous", tensor("f32", "B", 2, "C", 8)))
    new = g.add_input("new", tensor("f32", "B", 2, "S", 8))
    past = g.add_input("past_length", tensor("i64", "B"))
    g.outputs = {"present.0.key": b(ops.kv_append, cache, new, past)}
    schedule = scheduled(g)
    assert described(schedule) == [("kv_append", ["new", "past_length", "past.0.key"])]
    assert [given.name for given in schedule.parameters] == ["new", "past_length", "past.0.key"]


def test_a_count_that_no_tensor_has_is_passed_as_a_number() -> None:
    g = Graph("step")
    b = Builder(g)
    x = g.add_input("x", tensor("i64", "B"))
    y = g.add_input("y", tensor("i64", "S"))
    g.outputs = {
        "n": b(ops.dim_value, value=x.type.shape[0] + y.type.shape[0] * 2),
        "i": b(ops.iota, size=3, dtype=DType.I64),
    }
    schedule = scheduled(g)
    assert {str(s) for s in schedule.calls[0].sizes.values()} == {"B", "S"}
