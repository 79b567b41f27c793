"""Weights change in place where all their readers change alike, and get a copy where not."""

from __future__ import annotations

import torch

from graphwright.ir import parse_program, verify
from graphwright.passes.quantization.weight_folds.weight_changes import WeightChanges, times
from tests.tensors import listed

TEXT = """
program "p"
weight @w : f32[2] = data([1.0, 2.0]) : f32[2]
graph a(%x: f32[2]) {
  %0 = mul(%x, @w) : f32[2]
  return y=%0
}
graph b(%x: f32[2]) {
  %0 = mul(%x, @w) : f32[2]
  %1 = add(%0, @w) : f32[2]
  return y=%1
}
"""


def test_alike_in_all_places() -> None:
    program = parse_program(TEXT)
    changes, twice = WeightChanges(), times(torch.tensor([2.0, 2.0]))
    for graph in program.graphs.values():
        for op in graph:
            changes.change(graph, op, 1, twice)
    changes.apply(program)
    verify(program)
    assert {n: listed(w.evaluate()) for n, w in program.weights.items()} == {"w": [2, 4]}


def test_in_some_places() -> None:
    program = parse_program(TEXT)
    changes, twice = WeightChanges(), times(torch.tensor([2.0, 2.0]))
    for graph in program.graphs.values():
        changes.change(graph, next(iter(graph)), 1, twice)
    changes.apply(program)
    verify(program)
    assert {n: listed(w.evaluate()) for n, w in program.weights.items()} == {"w": [1, 2], "w.folded": [2, 4]}
    read = [[str(op.operands[1] and op.operands[1].name) for op in graph] for graph in program.graphs.values()]
    assert read == [["w.folded"], ["w.folded", "w"]]


def test_otherwise_in_each_place() -> None:
    program = parse_program(TEXT)
    changes = WeightChanges()
    for i, graph in enumerate(program.graphs.values()):
        for op in graph:
            changes.change(graph, op, 1, times(torch.tensor([2.0 + i, 2.0])))
    changes.apply(program)
    verify(program)
    found = {n: listed(w.evaluate()) for n, w in program.weights.items()}
    assert found == {"w": [2, 4], "w.folded": [3, 4], "w.folded.1": [3, 4]}
