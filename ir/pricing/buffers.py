"""Which values share memory, and how much of it a run of a graph needs at most.

A view lies in its operand's buffer, and what is written in place in the cache that it updates. Every other value has a
buffer of its own, from the op that makes it to the last that reads it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from graphwright.ir.graph import Graph, Value
from graphwright.ir.types import StateType, Type

Part = Literal["weight", "activation", "cache"]
"""What a buffer holds: a weight; a cache or state; or anything else, the graph's inputs and outputs included."""


class Buffers:
    """The values of a graph by the value that they share memory with: the first in that buffer."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._first: dict[Value, Value] = {}
        for op in graph:
            if op.definition.view:
                self._first[op.results[0]] = self.first(op.inputs[0])
            for result, value in enumerate(op.results):
                operand = op.definition.in_place.get(result)
                if operand is not None:
                    self._first[value] = self.first(op.required(operand))

    def first(self, value: Value) -> Value:
        """The value whose buffer a value lies in; itself for most."""
        return self._first.get(value, value)

    def part(self, value: Value) -> Part:
        """What the buffer of a value holds."""
        first = self.first(value)
        if first.weight is not None:
            return "weight"
        return "cache" if isinstance(first.type, StateType) else "activation"


@dataclass(frozen=True)
class Memory:
    """Bytes that a run of a graph needs beside its weights: caches and states, and at most so much else at once."""

    cache: int
    activations: int


def memory(buffers: Buffers, bindings: Mapping[str, int]) -> Memory:
    """What a run of the graph with these sizes needs.

    States that go in or come out take memory throughout: a recurrent state, which is not updated in place, twice.
    Other inputs and outputs are held by the caller, from the beginning and to the end.
    """
    graph = buffers.graph
    sizes: dict[Type, int] = {}

    def size(value: Value) -> int:
        found = sizes.get(value.type)
        if found is None:
            found = sizes[value.type] = -(-value.type.bits.evaluate(bindings) // 8)
        return found

    outputs = {buffers.first(v) for v in graph.outputs.values()}
    lasting = {v for v in (*graph.inputs, *outputs) if isinstance(v.type, StateType)}
    order = list(graph)
    last: dict[Value, int] = {}
    for i, op in enumerate(order):
        for value in (*op.inputs, *op.results):
            last[buffers.first(value)] = i
    ends: dict[int, list[Value]] = {}
    for value, i in last.items():
        if value.owner is not None and value not in lasting and value not in outputs:
            ends.setdefault(i, []).append(value)
    live = most = sum(size(v) for v in graph.inputs if v not in lasting)
    for i, op in enumerate(order):
        live += sum(size(v) for v in op.results if buffers.first(v) is v and v not in lasting)
        most = max(most, live)
        live -= sum(size(v) for v in ends.get(i, ()))
    return Memory(sum(size(v) for v in lasting), most)
