"""Graphs planned for the emulator, and their launches run one after another on torch's memory, without the driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from graphwright.backends.cuda.emit import TailVariant
from graphwright.backends.cuda.gpu import EMULATED, Gpu
from graphwright.backends.cuda.lower import plan_graphs
from graphwright.backends.plan import Buffer, Given, Stage, Stored, Temporary
from graphwright.emulating.interpreter import Argument, Request
from graphwright.emulating.native import call, linked
from graphwright.ir.graph import Graph
from graphwright.ir.interpreter import bind_symbols
from graphwright.ir.torch_types import torch_dtype
from tests.emulator.interpreter import interpret

GUARD = 64
"""Bytes before and behind each buffer that no kernel may change."""


class Memory:
    """So many bytes of which nothing is known, with guards around them."""

    def __init__(self, size: int) -> None:
        self._all = torch.full((size + 2 * GUARD,), 0xA5, dtype=torch.uint8)
        self.bytes = self._all[GUARD : GUARD + size]
        self.bytes.fill_(0xFF)

    def check(self) -> None:
        assert (self._all[:GUARD] == 0xA5).all(), "a kernel wrote in front of a buffer"
        assert (self._all[GUARD + self.bytes.numel() :] == 0xA5).all(), "a kernel wrote behind a buffer"


class Steps:
    """The graphs' functions. Results come by the names of the graphs' outputs."""

    def __init__(self, graphs: Sequence[Graph], gpu: Gpu = EMULATED) -> None:
        self.graphs = {graph.name: graph for graph in graphs}
        self.planned = plan_graphs(graphs, gpu)
        self.weights = {w.name: w.expression.evaluate().contiguous() for w in self.planned.weights}

    def tail(self, name: str) -> list[str]:
        """The ops of a graph that the tail runs."""
        plan, variants = self.planned.plans[name], self.planned.variants
        return [
            launch.op.name for launch in plan.launches if isinstance(variants[launch.stages[0].function], TailVariant)
        ]

    def run(self, name: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One step; inputs stay as they are."""
        graph, plan = self.graphs[name], self.planned.plans[name]
        known = plan.bindings(bind_symbols(graph, inputs))
        slots = [Memory(size.evaluate(known)) for size in plan.slots]
        given: dict[str, Memory] = {}
        for each in plan.parameters:
            given[each.graph_name] = memory = Memory(each.bytes.evaluate(known))
            if each.graph_name in inputs:
                memory.bytes.copy_(_bytes(inputs[each.graph_name]))

        def address(buffer: Buffer) -> Tensor:
            match buffer:
                case Given():
                    return given[buffer.graph_name].bytes
                case Stored():
                    return _bytes(self.weights[buffer.name])
                case _:
                    assert isinstance(buffer, Temporary)
                    assert plan.slot_of is not None
                    return slots[plan.slot_of[buffer]].bytes

        for stage in plan.stages:
            self._launch(stage, [address(access.buffer) for access in stage.accesses], known)
        for memory in (*slots, *given.values()):
            memory.check()
        found: dict[str, Tensor] = {}
        for output, value in graph.outputs.items():
            buffer = plan.placement[value]
            shape = [size.evaluate(known) for size in value.type.shape]
            found[output] = address(buffer).view(torch_dtype(value.tensor.dtype)).reshape(shape).clone()
        return found

    def _launch(self, stage: Stage, memory: Sequence[Tensor], known: Mapping[str, int]) -> None:
        assert stage.extent is not None
        blocks = stage.extent.evaluate(known)
        if blocks == 0:
            return
        variant = self.planned.variants[stage.function]
        sizes = [size.evaluate(known) for size, _ in stage.sizes]
        names = variant.parameters
        if isinstance(variant, TailVariant):
            values = [m.data_ptr() for m in memory] + sizes
            arguments = [Argument(n, kind, value, None) for (n, kind), value in zip(names, values, strict=True)]
            call(str(linked(variant.code)), variant.name, 0, Request("", blocks, arguments, None, frozenset()))
            return
        tensors = [
            m.view(torch_dtype(access.buffer.type.dtype)) for m, access in zip(memory, stage.accesses, strict=True)
        ]
        named = dict(zip((n for n, _ in names), (*tensors, *sizes), strict=True))
        interpret(variant.body, blocks, **named, **dict(variant.constants))


def _bytes(tensor: Tensor) -> Tensor:
    """The memory of a tensor; of one that has no numbers, none."""
    return tensor.contiguous().reshape(-1).view(torch.uint8) if tensor.numel() else torch.empty(0, dtype=torch.uint8)
