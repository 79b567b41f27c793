"""Memory of their own for outputs and rings, by copies that stand in the graph: emission adds none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir.builder import Builder
from graphwright.ir.dialects.cpu.memory import copy
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.pricing.buffers import Buffers
from graphwright.ir.types import QuantizedType, StateType
from graphwright.passes.base import register
from graphwright.passes.lowering.cpu.kernel_pass import Context, KernelPass

OUTPUTS = f"{copy.name}: an output"
RINGS = f"{copy.name}: a ring"


@register
@dataclass(frozen=True)
class CopyToOwnMemory(KernelPass):
    """A ring that comes in is copied before it is appended to, and so is an output that has no memory of its own.

    A step gives back another ring than it was given, so what comes in stays as it is. A contiguous cache is changed in
    place: it comes back in the memory in which it came. Any other output lies neither in the memory of an input, a
    weight or a constant nor in that of an output before it.
    """

    name: ClassVar[str] = "cpu-copies"
    findings: ClassVar[tuple[str, ...]] = (RINGS, OUTPUTS)

    def lower(self, context: Context) -> None:
        for op in context.graph:
            for name in op.definition.in_place.values():
                ring = op.operand(name)
                if ring in context.graph.inputs and isinstance(ring.type, StateType) and ring.type.layout == "ring":
                    copied = Builder(context.graph, op, op.location)(copy, ring)
                    context.graph.set_operand(op, op.definition.operand_index(name), copied)
                    context.outcome.count(RINGS, 1, op.location)
        self._outputs(context)

    def _outputs(self, context: Context) -> None:
        graph, buffers = context.graph, Buffers(context.graph)
        taken: set[Value] = set()
        for name, value in graph.outputs.items():
            memory = buffers.first(value)
            if _is_changed_in_place(value, memory) or isinstance(value.type, QuantizedType):
                continue
            if memory in taken or not _is_made(memory):
                # Right behind what makes it, since its memory may be changed in place further on.
                build = Builder(graph, _after(graph, value), value.owner.location if value.owner is not None else "")
                graph.outputs[name] = build(copy, value)
                context.outcome.count(OUTPUTS, 1, build.location)
            taken.add(memory)


def _is_changed_in_place(value: Value, memory: Value) -> bool:
    """Whether an output is a contiguous cache, in the memory of the input that it comes from."""
    cache = isinstance(value.type, StateType) and value.type.layout == "contiguous"
    return cache and memory.owner is None and memory.weight is None


def _is_made(memory: Value) -> bool:
    """Whether a step writes the value: it is no input, no weight, and no constant, for which nothing runs."""
    return memory.owner is not None and memory.owner.definition.price(memory.owner).launches > 0


def _after(graph: Graph, value: Value) -> Op | None:
    """The op behind the one that makes a value, the first op if it comes from outside."""
    order = iter(graph)
    if value.owner is not None:
        next(op for op in order if op is value.owner)
    return next(order, None)
