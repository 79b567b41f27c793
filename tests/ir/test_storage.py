"""What weights take where they are stored."""

from __future__ import annotations

import torch

from graphwright.ir import Graph, Program, StoredArray, Weight, ops, tensor
from graphwright.ir.storage import Within, stored_bytes, total_bytes, weights_of, weights_within
from graphwright.ir.weights import Applied, StoredFile, WeightExpression

WHOLE = StoredFile("w.safetensors", "w", tensor("bf16", 10, 4))


def rows(start: int, stop: int, step: int = 1) -> WeightExpression:
    return Applied.of(ops.slice, (WHOLE,), {"axis": 0, "start": start, "stop": stop, "step": step})


def test_rows_of_another_weight_and_copies_take_no_room() -> None:
    weights = [
        Weight("whole", WHOLE),
        Weight("rows", rows(2, 5)),
        Weight("again", WHOLE),
        Weight("spread", rows(0, 10, 2)),
        Weight("last", rows(-2, 10)),
        Weight("other", StoredArray.of(torch.zeros(3))),
    ]
    assert weights_within(weights) == {"rows": Within("whole", 2 * 4 * 2), "again": Within("whole", 0)}
    assert total_bytes(weights) == 80 + 40 + 16 + 12
    assert total_bytes(weights[1:2]) == stored_bytes(weights[1]) == 24


def test_weights_of_several_graphs_count_once() -> None:
    program = Program()
    shared, single = (program.add_weight(n, StoredArray.of(torch.zeros(2))) for n in ("shared", "single"))
    program.add_weight("unused", StoredArray.of(torch.zeros(2)))
    for name, used in (("prefill", (shared,)), ("decode", (shared, single))):
        graph = program.add_graph(Graph(name))
        graph.outputs = {w.name: graph.weight(w) for w in used}
    assert weights_of(program.graphs.values()) == [shared, single]
