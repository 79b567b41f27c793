"""A graph as calls of kernels, op by op."""

from dataclasses import dataclass
from typing import Literal

from graphwright.backends.tvm.emit.emitter import Calls, Emitter, Memory, Tensor, type_name
from graphwright.backends.tvm.emit.kernel_module import KernelModule
from graphwright.backends.tvm.sizes import Sizes
from graphwright.ir.errors import UnsupportedError
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.types import StateType
from graphwright.ir.weights import Weight

INPUT_ORDER = {None: 0, "contiguous": 1, "ring": 1, "recurrent": 2}
OUTPUT_ORDER = {"ring": 0, "recurrent": 1, None: 2}
"""The order of a step's tensors, by the layout of states: inputs, then caches, then recurrent states; what it writes of
these to another buffer, then outputs."""


@dataclass(frozen=True)
class Emitted:
    """A graph's calls, one entry for each op that a kernel runs for, and the memory of its values.

    `parameters` is what the caller gives, in order: inputs, and the outputs that are not updated in place.
    """

    graph: Graph
    sizes: Sizes
    launches: list[Calls]
    parameters: tuple[Memory, ...]
    held: dict[Value, Memory]


def emit_graph(graph: Graph, kernels: KernelModule, weights: dict[str, Weight]) -> Emitted:
    """The graph's calls of kernels. Kernels go to `kernels`, weights to `weights`, which graphs share.

    Raises `UnsupportedError`, naming op and module path, for an op that there is no emission for.
    """
    e = Emitter(graph, kernels, weights)
    parameters: list[Memory] = []
    for value in sorted(graph.inputs, key=lambda v: INPUT_ORDER[_layout(v)]):
        type = value.tensor
        type_name(type.dtype)
        parameters.append(Memory(type, given=str(value.name)))
        e.bind(value, Tensor(parameters[-1], type))
    for op in graph:
        _emit(e, op)
    written = [(name, v) for name, v in graph.outputs.items() if not is_updated_in_place(v)]
    for name, value in sorted(written, key=lambda item: OUTPUT_ORDER[_layout(item[1])]):
        memory = e.value(value).memory
        assert (memory.given, memory.weight) == (None, None), f"output '{name}' has no memory of its own"
        memory.given, memory.type = name, value.tensor
        parameters.append(memory)
    held = {v: e.value(v).memory for v in graph.inputs}
    held |= {v: e.value(v).memory for op in graph for v in op.results if e.holds(v)}
    return Emitted(graph, e.sizes, [each for each in e.launches if each.calls], tuple(parameters), held)


def is_updated_in_place(value: Value) -> bool:
    """Whether an output is the buffer of an input, which a step has changed."""
    return isinstance(value.type, StateType) and value.type.layout == "contiguous"


def _layout(value: Value) -> Literal["contiguous", "ring", "paged", "recurrent"] | None:
    return value.type.layout if isinstance(value.type, StateType) else None


def _emit(e: Emitter, op: Op) -> None:
    where = f" at {op.location}" if op.location else ""
    try:
        e.emit(op)
    except UnsupportedError as error:
        raise UnsupportedError(f"{op.name}{where}: {error}") from None
