"""The launch plan: which kernels run on which memory, in what order, and where threads wait for each other.

A plan belongs to one lowered graph, a phase of a program. Each launch implements exactly one op of the graph, by one or
more stages; a view of the graph launches nothing. Sizes are dimensions over the graph's symbols and over the plan's own
definitions, which hold what no polynomial does: quotients, and the smaller or larger of two sizes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from graphwright.ir.dims import Dim
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.types import DType, TensorType

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector. Every slot begins at a multiple of this."""

DefinitionKind = Literal["floordiv", "min", "max"]


@dataclass(frozen=True)
class Definition:
    """A size that is no polynomial: `first // second`, rounded down, or the smaller or larger of the two."""

    kind: DefinitionKind
    first: Dim
    second: Dim

    def evaluate(self, bindings: Mapping[str, int]) -> int:
        first, second = self.first.evaluate(bindings), self.second.evaluate(bindings)
        if self.kind == "floordiv":
            return first // second
        return min(first, second) if self.kind == "min" else max(first, second)


PREFIX = "size_"
"""Begins the names of definitions; no symbol of a captured graph has it."""


def defined(definitions: dict[str, Definition], kind: DefinitionKind, first: Dim, second: Dim) -> Dim:
    """The size that the definition has, a number where both are; it is added to `definitions` if it is not there."""
    definition = Definition(kind, first, second)
    if first.constant is not None and second.constant is not None:
        return Dim.of(definition.evaluate({}))
    for name, known in definitions.items():
        if known == definition:
            return Dim.of(name)
    name = f"{PREFIX}{len(definitions)}"
    definitions[name] = definition
    return Dim.of(name)


@dataclass(frozen=True, eq=False)
class Buffer:
    """Memory that holds one dense array. Two buffers are the same only if they are one object."""

    name: str
    """Unique within the plan."""
    type: TensorType

    @property
    def bytes(self) -> Dim:
        """Its size in bytes; an element of less than a byte takes one."""
        return self.type.elements * max(1, self.type.dtype.bits // 8)


@dataclass(frozen=True, eq=False)
class Given(Buffer):
    """A tensor of the caller's: an input, a cache, an output."""

    stands_for: str = ""
    """The name of the graph's input or output; empty where the buffer has that name, which no other buffer has."""

    @property
    def graph_name(self) -> str:
        return self.stands_for or self.name


@dataclass(frozen=True, eq=False)
class Stored(Buffer):
    """A weight, or a part of one, as the weights file holds it under the buffer's name."""

    weight: str
    """The weight of the graph that it holds or is a part of; its own name where the kernel alone has it."""
    offset: int
    """Bytes from the beginning of the weights file."""


@dataclass(frozen=True, eq=False)
class Temporary(Buffer):
    """Memory of the workspace, from the first launch that accesses it to the last."""


@dataclass(frozen=True)
class Access:
    """What a stage does with a buffer."""

    buffer: Buffer
    reads: bool
    writes: bool


@dataclass(frozen=True)
class Stage:
    """A piece of a launch that runs without threads waiting for each other."""

    function: str
    """The symbol of its code."""
    extent: Dim | None
    """How many iterations the threads share; None where one thread runs the stage."""
    accesses: tuple[Access, ...]
    """In the order in which the code takes pointers to the buffers. One that is only read may be taken twice."""
    sizes: tuple[tuple[Dim, DType], ...]
    """The integers that the code takes behind the pointers."""
    arms: tuple[tuple[int, int], ...] = ()
    """The branches of the launch that guard the stage, by number, and which arm of each it stands in: of two stages in
    different arms of one branch only one does anything."""
    waits: bool = False
    """Whether all threads meet before the stage begins."""


@dataclass(frozen=True)
class Launch:
    """One op of the graph as stages, which run in order."""

    op: Op
    stages: tuple[Stage, ...]
    kernel: str = ""
    """The name of the kernel that the stages are from in its library; empty where it has none."""
    settings: tuple[tuple[str, int], ...] = ()
    """The choices that the kernel was built with, and their values."""


@dataclass(frozen=True)
class Plan:
    """A graph's launches in the order in which they run, and its memory."""

    graph: Graph
    definitions: Mapping[str, Definition]
    """By name, which is not a symbol of the graph; each uses symbols and earlier definitions."""
    parameters: tuple[Given, ...]
    """What the caller gives, in the order of the code's parameters: inputs, then the outputs that are not updated in
    place."""
    placement: Mapping[Value, Buffer]
    """The buffer of each value but of weights: of an input, of a result, of a view that of its operand. A result that
    nothing reads may have none."""
    launches: tuple[Launch, ...]
    slots: tuple[Dim, ...] = ()
    """The size of each slot of the workspace in bytes, before it is rounded up to `ALIGNMENT`."""
    slot_of: Mapping[Buffer, int] | None = None
    """The slot of each temporary; None before memory is planned."""

    @property
    def name(self) -> str:
        return self.graph.name

    @property
    def stages(self) -> Iterator[Stage]:
        for launch in self.launches:
            yield from launch.stages

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """All buffers: those that are given, then others in the order in which stages come to them."""
        found: dict[Buffer, None] = dict.fromkeys(self.parameters)
        for stage in self.stages:
            for access in stage.accesses:
                found[access.buffer] = None
        return tuple(found)

    def bindings(self, symbols: Mapping[str, int]) -> dict[str, int]:
        """The values of symbols and definitions, from those of the graph's symbols."""
        known = dict(symbols)
        for name, definition in self.definitions.items():
            known[name] = definition.evaluate(known)
        return known

    def slot_offsets(self, symbols: Mapping[str, int]) -> list[int]:
        """Where each slot begins in the workspace, in bytes; one more entry says where the last ends."""
        known = self.bindings(symbols)
        offsets = [0]
        for size in self.slots:
            offsets.append(offsets[-1] + -(-size.evaluate(known) // ALIGNMENT) * ALIGNMENT)
        return offsets


def shown(value: Value) -> Value:
    """The value that a view, or a view of views, shows the elements of; any other value itself."""
    while value.owner is not None and value.owner.definition.view:
        value = value.owner.inputs[0]
    return value


def shown_weights(value: Value) -> list[str]:
    """The names of the weights that a value is, or that views make it of; none where it is made in a run."""
    if value.weight is not None:
        return [value.weight.name]
    if value.owner is None or not value.owner.definition.view:
        return []
    return [name for operand in value.owner.inputs for name in shown_weights(operand)]
