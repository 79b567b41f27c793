"""Random graphs of ops behind one another: with views, caches, a ring and a recurrent state, and sizes B, S and C."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from hypothesis import strategies as st
from torch import Tensor

from graphwright.backends.plan.plan import shown
from graphwright.ir import Builder, Dim, DType, Graph, Op, Program, StateType, StoredArray, TensorType, Value, tensor
from graphwright.ir import ops as o

WHOLE = tensor("f32", "B", "S", 4)
UNARY = [o.neg, o.abs, o.sigmoid, o.tanh]
BINARY = [o.add, o.sub, o.mul, o.maximum]
RING = 3


def inputs_of(graph: Graph, sizes: Mapping[str, int], seed: int = 0) -> dict[str, Tensor]:
    """Numbers for the inputs of a chain. A row has taken from 0 to C - S tokens."""
    draw = torch.Generator().manual_seed(seed)
    given: dict[str, Tensor] = {}
    for value in graph.inputs:
        shape = [dim.evaluate(sizes) for dim in value.type.shape]
        if value.name == "past_length":
            given["past_length"] = torch.randint(0, sizes["C"] - sizes["S"] + 1, shape, generator=draw)
        elif value.name == "new_length":
            given["new_length"] = torch.randint(1, sizes["S"] + 1, shape, generator=draw)
        else:
            given[str(value.name)] = torch.randn(shape, generator=draw)
    return given


@st.composite
def chains(draw: st.DrawFn) -> Graph:
    """A graph whose outputs are results of different ops, and whose caches are appended to behind all reads."""
    program = Program("chain")
    graph = program.add_graph(Graph("g"))
    return _Chain(draw, program, graph).made()


class _Chain:
    def __init__(self, draw: st.DrawFn, program: Program, graph: Graph) -> None:
        self.draw, self.program, self.graph = draw, program, graph
        self.values: list[Value] = [graph.add_input("x", WHOLE)]
        self.past = graph.add_input("past_length", tensor("i64", "B"))
        self.new = graph.add_input("new_length", tensor("i64", "B"))
        self.states: dict[str, Value] = {}

    def made(self) -> Graph:
        for _ in range(self.draw(st.integers(1, 10))):
            self.values.append(self._op(Builder(self.graph, location="here")))
        made = list({shown(v): v for v in self.values if shown(v).owner is not None}.values())
        wanted = self.draw(st.lists(st.sampled_from(made), min_size=1, max_size=2, unique=True)) if made else []
        for n, value in enumerate(wanted):
            self.graph.outputs[f"y{n}"] = value
        self.graph.outputs.update(self.states)
        return self.graph

    def _pick(self) -> Value:
        return self.draw(st.sampled_from(self.values))

    def _op(self, build: Builder) -> Value:
        match self.draw(st.integers(0, 9)):
            case 0 | 1:
                return build(self.draw(st.sampled_from(UNARY)), self._pick())
            case 2 | 3:
                return build(self.draw(st.sampled_from(BINARY)), self._pick(), self._pick())
            case 4:
                gain = StoredArray.of(torch.tensor([0.5, -1.0, 2.0, 0.25]))
                weight = self.program.weights.get("gain") or self.program.add_weight("gain", gain)
                return build(o.rms_norm, self._pick(), self.graph.weight(weight), epsilon=1e-5)
            case 5:
                rows = build(o.reshape, self._pick(), shape=(Dim.of("B") * Dim.of("S"), Dim.of(4)))
                return build(o.reshape, build(o.tanh, rows), shape=WHOLE.shape)
            case 6:
                left, right = build.op(o.split, self._pick(), axis=2, sizes=(1, 3)).results
                return build(o.concat, right, left, axis=2)
            case 7:
                half = build(o.cast, self._pick(), dtype=DType.BF16)
                return build(o.cast, half, dtype=DType.F32)
            case 8:
                return self._cached(build)
            case _:
                return self._summed(build)

    def _cached(self, build: Builder) -> Value:
        """What a cache or a ring holds once it was appended to, added up over its places."""
        ring = self.draw(st.booleans())
        number = len(self.states)
        places = Dim.of(RING) if ring else Dim.of("C")
        type = StateType(
            "ring" if ring else "contiguous", TensorType(DType.F32, (Dim.of("B"), Dim.of(1), places, Dim.of(4)))
        )
        past = self.graph.add_input(f"past.{number}.key", type)
        new = build(o.reshape, self._pick(), shape=(Dim.of("B"), Dim.of(1), Dim.of("S"), Dim.of(4)))
        present = build(o.kv_append, past, new, self.past, self.new if ring else None)
        self.states[f"present.{number}.key"] = present
        total = build(o.sum, build(o.kv_read, present), axes=(1, 2), keepdims=False)
        spread = build(o.reshape, total, shape=(Dim.of("B"), Dim.of(1), Dim.of(4)))
        return build(o.add, self._pick(), spread)

    def _summed(self, build: Builder) -> Value:
        """Running sums, with what a state remembers."""
        number = len(self.states)
        type = StateType("recurrent", tensor("f32", "B", 4))
        past = self.graph.add_input(f"past.{number}.state", type)
        op: Op = build.op(o.running_sum, self._pick(), past, self.new, axis=1)
        self.states[f"present.{number}.state"] = op.results[1]
        return op.results[0]
