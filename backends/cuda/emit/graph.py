"""A graph as launches, op by op."""

from __future__ import annotations

from dataclasses import replace

from graphwright.backends.cuda.emit.emitter import Emitter, Variants
from graphwright.backends.kernel_library import KernelLibrary
from graphwright.backends.plan import Buffer, Given, Plan, Stored, Temporary
from graphwright.backends.plan.plan import shown_weights
from graphwright.ir.errors import UnsupportedError
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.types import StateType
from graphwright.ir.weights import Weight


def emit_graph(graph: Graph, library: KernelLibrary, variants: Variants, weights: dict[str, Weight]) -> Plan:
    """The graph's launches as a plan, whose memory is not planned and whose weights have no place yet.

    Variants of kernels go to `variants` and weights to `weights`, which graphs share. Raises `UnsupportedError`, naming
    op and module path, for an op that no kernel takes.
    """
    e = Emitter(graph, library, variants)
    for value in graph.inputs:
        e.bind(value, Given(str(value.name), value.tensor))
    for op in graph:
        _emit(e, op)
    parameters = [e.buffers[value] for value in graph.inputs]
    for name, value in graph.outputs.items():
        if not is_updated_in_place(value):
            parameters.append(_output(e, name, value))
    weights |= e.weights
    given = tuple(buffer for buffer in parameters if isinstance(buffer, Given))
    assert len(given) == len(parameters), "inputs and outputs are the caller's memory"
    # A view of a weight is read as the weight.
    placement = {value: buffer for value, buffer in e.buffers.items() if not shown_weights(value)}
    return Plan(graph, e.definitions, given, placement, tuple(e.launches))


def is_updated_in_place(value: Value) -> bool:
    """Whether an output is the memory of an input, which a step has changed."""
    return isinstance(value.type, StateType) and value.type.layout == "contiguous"


def _output(e: Emitter, name: str, value: Value) -> Buffer:
    buffer = e.buffers.get(value)
    if isinstance(buffer, Temporary):
        # What was made for a value that it is changed in place of, or viewed.
        buffer = e.give(buffer, name, value.tensor)
    if not isinstance(buffer, Given) or buffer.name != name:
        raise UnsupportedError(f"output '{name}' has no memory of its own")
    return buffer


def _emit(e: Emitter, op: Op) -> None:
    where = f" at {op.location}" if op.location else ""
    try:
        if op.definition.view:
            source = e.buffer(op.inputs[0])
            e.bind(op.result, source)
        else:
            e.emit(op)
    except UnsupportedError as error:
        raise UnsupportedError(f"{op.name}{where}: {error}") from None


def with_places(plan: Plan, offsets: dict[str, int]) -> Plan:
    """The plan with each weight at its offset in the weights file, in bytes."""
    moved: dict[Buffer, Buffer] = {}

    def place(buffer: Buffer) -> Buffer:
        if not isinstance(buffer, Stored):
            return buffer
        if buffer not in moved:
            moved[buffer] = replace(buffer, offset=offsets[buffer.name])
        return moved[buffer]

    launches = tuple(
        replace(
            launch,
            stages=tuple(
                replace(stage, accesses=tuple(replace(a, buffer=place(a.buffer)) for a in stage.accesses))
                for stage in launch.stages
            ),
        )
        for launch in plan.launches
    )
    return replace(plan, launches=launches, placement={v: place(b) for v, b in plan.placement.items()})
