from __future__ import annotations

import pytest

from graphwright.ir import (
    Builder,
    Dim,
    DType,
    Graph,
    IRTypeError,
    Op,
    Program,
    StoredArray,
    clone_graph,
    ops,
    tensor,
    verify_graph,
)
from graphwright.ir import print_graph as text
from graphwright.ir.text import parse_type


def chain(length: int = 4) -> Graph:
    """x, neg x, neg neg x, …"""
    graph = Graph("forward")
    value = graph.add_input("x", tensor("f32", "S"))
    build = Builder(graph)
    for _ in range(length):
        value = build(ops.neg, value)
    graph.outputs["y"] = value
    return graph


def test_uses_follow_every_change() -> None:
    graph = Graph()
    x = graph.add_input("x", tensor("f32", 2))
    build = Builder(graph)
    square = build.op(ops.mul, x, x)
    assert list(x.uses) == [(square, 0), (square, 1)]
    assert x.users == [square]
    other = build(ops.exp, x)
    graph.set_operand(square, 1, other)
    assert list(x.uses) == [(square, 0), (other.owner, 0)]
    assert list(other.uses) == [(square, 1)]
    graph.outputs["y"] = square.result
    graph.replace(other, x)
    assert other.uses == {}
    assert graph.erase_dead() == 1
    assert list(x.uses) == [(square, 0), (square, 1)]
    verify_graph(graph)


def test_replace_reaches_outputs_and_leaves_a_value_replaced_by_itself_alone() -> None:
    graph = chain(2)
    first, second = graph
    graph.replace(second.result, first.result)
    assert graph.outputs["y"] is first.result
    graph.replace(first.result, first.result)
    assert list(first.result.uses) == [(second, 0)]


def test_erase_dead_takes_the_cone_and_nothing_else() -> None:
    graph = chain(4)
    _, second, third, last = graph
    graph.outputs["y"] = second.result
    assert graph.erase_dead([last]) == 2
    assert [op.erased for op in (second, third, last)] == [False, True, True]
    assert len(graph) == 2
    verify_graph(graph)


def test_a_used_op_is_not_erased() -> None:
    graph = chain(2)
    first, last = graph
    with pytest.raises(AssertionError, match="is still used"):
        graph.erase(first)
    with pytest.raises(AssertionError, match="is still used"):
        graph.erase(last)


def test_iteration_survives_erasing_what_comes_next() -> None:
    graph = chain(5)
    ops_before = list(graph)
    graph.outputs["y"] = ops_before[0].result
    seen: list[Op] = []
    for op in graph:
        seen.append(op)
        if op is ops_before[0]:
            graph.erase_dead()
    assert seen == [ops_before[0]]


def test_backward_iteration_survives_erasing_a_cone() -> None:
    graph = chain(5)
    ops_before = list(graph)
    graph.outputs["y"] = ops_before[1].result
    seen: list[Op] = []
    for op in graph.backwards():
        seen.append(op)
        graph.erase_dead([op])
    assert seen == [ops_before[4], ops_before[1], ops_before[0]]


def test_ops_inserted_ahead_are_visited_and_ops_inserted_behind_are_not() -> None:
    graph = chain(2)
    names: list[str] = []
    for op in graph:
        names.append(op.name)
        if op.name == "neg" and len(graph) < 4:
            Builder(graph, before=op)(ops.exp, op.inputs[0])
            if op._next is not None:
                Builder(graph, before=op._next)(ops.sin, op.result)
    assert names == ["neg", "sin", "neg"]
    assert [op.name for op in graph] == ["exp", "neg", "sin", "neg"]


def test_order_of_insertion() -> None:
    graph = chain(1)
    (neg,) = graph
    Builder(graph, before=neg, location="here")(ops.exp, graph.inputs[0])
    assert [(op.name, op.location) for op in graph] == [("exp", "here"), ("neg", "")]
    assert [op.name for op in graph.backwards()] == ["neg", "exp"]


def test_numbers_become_constants_of_the_last_operand_s_type() -> None:
    graph = Graph()
    condition, x = graph.add_input("c", tensor("bool", 2)), graph.add_input("x", tensor("bf16", 2))
    build = Builder(graph)
    build(ops.where, condition, x, 0.0)
    build(ops.mul, x, 2)
    constants = [op for op in graph if op.name == "constant"]
    assert [op.attributes["dtype"] for op in constants] == [DType.BF16, DType.BF16]
    assert [op.name for op in build.created] == ["constant", "where", "constant", "mul"]


def test_an_ill_typed_op_leaves_the_graph_as_it_was() -> None:
    graph = chain(1)
    before = text(graph)
    with pytest.raises(IRTypeError, match=r"^add at model\.layer: "):
        Builder(graph, location="model.layer")(ops.add, graph.inputs[0], graph.add_input("i", tensor("i64", 2)))
    assert text(graph).splitlines()[1:] == before.splitlines()[1:]
    verify_graph(graph)


def test_a_weight_is_one_value_and_leaves_with_its_last_use() -> None:
    import torch

    program, graph = Program(), Graph()
    weight = program.add_weight("w", StoredArray.of(torch.ones(2)))
    value = graph.weight(weight)
    assert graph.weight(weight) is value
    op = Builder(graph).op(ops.neg, value)
    graph.erase_dead([op])
    assert graph.weights == []


def test_named_operands() -> None:
    graph = Graph()
    x, b = graph.add_input("x", tensor("f32", 2, 4)), graph.add_input("b", tensor("f32", 4))
    op = graph.insert(ops.layer_norm, (x, None, b), {"epsilon": 1e-5})
    assert op.operand("weight") is None
    assert op.required("bias") is b
    assert op.inputs == [x, b]
    with pytest.raises(AssertionError, match="layer_norm has no weight"):
        op.required("weight")


def test_symbols_are_those_of_the_inputs() -> None:
    graph = Graph()
    graph.add_input("x", tensor("f32", "B", "P+S"))
    graph.add_input("c", parse_type("state<contiguous f32[B, 2, C, 8]>"))
    assert graph.symbols == {"B", "P", "S", "C"}


def test_cloning_specializes_symbols_everywhere() -> None:
    graph = Graph("prefill")
    x = graph.add_input("x", tensor("f32", "B", "S", 4))
    build = Builder(graph)
    flat = build(ops.reshape, x, shape=(Dim.of("B*S"), 4))
    build(ops.dim_value, value=Dim.of("S"))
    graph.outputs["y"] = flat
    copy = clone_graph(graph, "decode", {"S": 1})
    assert text(copy) == (
        "graph decode(%x: f32[B, 1, 4]) {\n"
        "  %0 = reshape(%x) {shape=[B, 4]} : f32[B, 4]\n"
        "  %1 = dim_value() {value=1} : i64[]\n"
        "  return y=%0\n"
        "}\n"
    )
    assert "S" in text(graph)


def test_a_clone_of_a_program_is_its_own() -> None:
    program = Program("p")
    program.add_graph(chain())
    copy = program.clone()
    copy.graphs["forward"].outputs.clear()
    copy.graphs["forward"].erase_dead()
    assert len(program.graphs["forward"]) == 4
