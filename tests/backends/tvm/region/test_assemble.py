"""Graphs as launch plans."""

from __future__ import annotations

import torch

from graphwright.backends.plan import Buffer, Plan, Stored, Temporary, parse_plans, print_plans, verify_plan
from graphwright.backends.plan.interpreter import DenseInterpreter, run_bytes
from graphwright.backends.tvm.compile import plan_text
from graphwright.backends.tvm.cpu import GENERIC
from graphwright.backends.tvm.lower import plan_graphs
from graphwright.ir import Builder, Dim, DType, Graph, Program, StateType, ops, tensor
from graphwright.ir.weights import StoredArray


def planned(graph: Graph) -> Plan:
    return plan_graphs([graph], GENERIC).plans[graph.name]


def described(plan: Plan) -> list[tuple[str, list[str]]]:
    """Of each launch its op, and the buffers of its stages in order."""

    def place(buffer: Buffer) -> str:
        return f"weights+{buffer.name}" if isinstance(buffer, Stored) else buffer.name

    return [
        (launch.op.name, [place(access.buffer) for stage in launch.stages for access in stage.accesses])
        for launch in plan.launches
    ]


def small_graph() -> Graph:
    program = Program("test")
    g = program.add_graph(Graph("step"))
    b = Builder(g)
    x = g.add_input("x", tensor("f32", "B", "S", 4))
    weight = g.weight(program.add_weight("w", StoredArray.of(torch.ones(4))))
    y = b(ops.mul, b(ops.exp, x), weight)
    g.outputs = {"y": b(ops.reshape, b(ops.neg, y), shape=(x.type.shape[0] * x.type.shape[1], 4)), "z": y}
    return g


def test_outputs_are_written_where_the_caller_wants_them() -> None:
    found = [(name, sorted(buffers)) for name, buffers in described(planned(small_graph()))]
    assert found == [
        ("exp", ["t0", "x"]),
        ("mul", ["t0", "weights+w", "z"]),
        ("neg", ["y", "z"]),  # through a view of it
    ]


def test_each_value_is_placed_and_a_view_lies_in_its_operand() -> None:
    graph = small_graph()
    plan = planned(graph)
    placed = {op.name: plan.placement[op.result].name for op in graph}
    assert placed == {"exp": "t0", "mul": "z", "neg": "y", "reshape": "y"}


def test_sizes_are_dimensions_of_the_graph() -> None:
    plan = planned(small_graph())
    assert {str(size) for stage in plan.stages for size, _ in stage.sizes} == {"B", "S"}
    (temporary,) = (buffer for buffer in plan.buffers if isinstance(buffer, Temporary))
    assert temporary.bytes == Dim.of("16*B*S")
    assert [str(stage.extent) for stage in plan.stages] == ["B*S"] * 3


def test_a_contiguous_cache_is_changed_in_place() -> None:
    g = Graph("step")
    b = Builder(g)
    cache = g.add_input("past.0.key", StateType("contiguous", tensor("f32", "B", 2, "C", 8)))
    new = g.add_input("new", tensor("f32", "B", 2, "S", 8))
    past = g.add_input("past_length", tensor("i64", "B"))
    g.outputs = {"present.0.key": b(ops.kv_append, cache, new, past)}
    plan = planned(g)
    ((name, buffers),) = described(plan)
    assert (name, sorted(buffers)) == ("kv_append", ["new", "past.0.key", "past_length"])
    assert [given.name for given in plan.parameters] == ["new", "past_length", "past.0.key"]
    assert plan.placement[g.outputs["present.0.key"]] is plan.placement[cache]


def test_a_count_that_no_tensor_has_is_passed_as_a_number() -> None:
    g = Graph("step")
    b = Builder(g)
    x = g.add_input("x", tensor("i64", "B"))
    y = g.add_input("y", tensor("i64", "S"))
    g.outputs = {
        "n": b(ops.dim_value, value=x.type.shape[0] + y.type.shape[0] * 2),
        "i": b(ops.iota, size=3, dtype=DType.I64),
    }
    assert {str(size) for size, _ in planned(g).launches[0].stages[0].sizes} == {"B", "S"}


def test_what_no_polynomial_holds_is_defined() -> None:
    """The product of many rows goes by tiles of rows: their number is a quotient, rounded up."""
    program = Program("test")
    g = program.add_graph(Graph("step"))
    x = g.add_input("x", tensor("f32", "S", 64))
    weight = g.weight(program.add_weight("w", StoredArray.of(torch.ones(32, 64))))
    g.outputs = {"y": Builder(g)(ops.linear, x, weight)}
    plan = planned(g)
    (definition,) = plan.definitions.values()
    for rows in (1, 5, 6, 7, 100):
        known = plan.bindings({"S": rows})
        tile = definition.second.evaluate({})
        assert known["size_0"] == -(-rows // tile)
    assert any(stage.extent is not None and "size_0" in str(stage.extent) for stage in plan.stages)


def test_plans_of_a_program_are_read_back() -> None:
    program = Program("test")
    graph = program.add_graph(small_graph())
    text = plan_text(program, GENERIC)
    (plan,) = parse_plans(text, program)
    assert print_plans([plan]) == text
    assert [launch.op for launch in plan.launches] == [op for op in graph if not op.definition.view]


def test_inputs_outputs_and_weights_may_have_one_name() -> None:
    program = Program("test")
    g = program.add_graph(Graph("step"))
    b = Builder(g)
    x, gain, t0 = (g.add_input(name, tensor("f32", "B", 4)) for name in ("x", "gain", "t0"))
    weight = g.weight(program.add_weight("gain", StoredArray.of(torch.ones(4))))
    scaled = b(ops.mul, b(ops.exp, x), weight)
    g.outputs = {"x": b(ops.add, scaled, t0), "gain": b(ops.sub, scaled, gain)}
    text = plan_text(program, GENERIC)
    (plan,) = parse_plans(text, program)
    assert print_plans([plan]) == text
    verify_plan(plan)
    names = [buffer.name for buffer in plan.buffers]
    assert len(set(names)) == len(names) == 8
    assert [given.graph_name for given in plan.parameters] == ["x", "gain", "t0", "x", "gain"]
    inputs = {v.name or "": torch.randn(3, 4) for v in g.inputs}
    found, wanted = run_bytes(plan, inputs), DenseInterpreter().run(g, inputs)
    assert all(torch.equal(found[name], wanted[name]) for name in ("x", "gain"))
