"""On which device each node of a model runs, and what is copied between devices: ONNX Runtime's own rules.

A node whose types have a CUDA kernel goes to the GPU. Of these, nodes that compute with sizes go back to the CPU: all
that read a result which lies there, and beside it nothing but small constants and inputs of the graph. Then a copy is
put wherever a value is read in other memory than it lies in. A copy waits for the GPU, and rules out CUDA graphs.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from onnx import NodeProto, TensorProto, ValueInfoProto, helper, shape_inference

from graphwright.backends.onnx.lower import Lowered
from graphwright.backends.onnx.placement.kernels import HOST_INPUTS, HOST_OUTPUTS, Kernels, cuda_kernels

SMALL = 100
"""The most elements of a constant that may go to the CPU with a node."""
HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2)
"""Types of no node that is moved to the CPU for its sizes' sake."""
UNCAPTURED = ("MoE", "QMoE")
"""Operators whose CUDA kernels may read a count back from the GPU while they run."""


@dataclass(frozen=True)
class Placement:
    """Names of nodes: those without a CUDA kernel, those that compute sizes on the CPU, and those with a body that is
    not looked into. `copies` are values read in other memory than they lie in, and `waits` nodes that read the GPU."""

    without_kernel: tuple[str, ...]
    sizes: tuple[str, ...]
    bodies: tuple[str, ...]
    copies: tuple[str, ...]
    waits: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether all but sizes is computed on the GPU, and nothing is copied."""
        return not (self.without_kernel or self.bodies or self.copies)

    @property
    def is_capturable(self) -> bool:
        """Whether a run can be recorded as a CUDA graph."""
        return self.is_whole and not self.waits


@dataclass
class _Model:
    nodes: list[NodeProto]
    types: dict[str, int]
    small: set[str]
    """Constants of few elements."""
    constants: set[str]
    inputs: set[str]
    readers: dict[str, list[tuple[int, int]]] = field(default_factory=dict[str, list[tuple[int, int]]])
    """Of a value the nodes that read it, and as which operand."""

    def __post_init__(self) -> None:
        for index, node in enumerate(self.nodes):
            for place, name in enumerate(node.input):
                if name:
                    self.readers.setdefault(name, []).append((index, place))


def predict(lowered: Lowered, kernels: Kernels | None = None) -> Placement:
    """The placement of a model's nodes with these CUDA kernels, by default those of the release compiled for."""
    model = _read(lowered)
    table = cuda_kernels() if kernels is None else kernels
    bodies = {i for i, node in enumerate(model.nodes) if any(a.HasField("g") for a in node.attribute)}
    without = {i for i, node in enumerate(model.nodes) if not _has_kernel(model, node, table)}
    sizes = _size_nodes(model, without | bodies)

    def names(indices: set[int]) -> tuple[str, ...]:
        return tuple(model.nodes[i].name for i in sorted(indices))

    waits = {i for i, node in enumerate(model.nodes) if node.op_type in UNCAPTURED}
    copies = _copies(model, without | sizes)
    return Placement(names(without), names(sizes), names(bodies), tuple(copies), names(waits))


def _read(lowered: Lowered) -> _Model:
    known = [helper.make_tensor_value_info(name, dtype, None) for name, dtype in lowered.types.items()]
    graph = lowered.model.graph
    given = {value.name for value in (*graph.input, *graph.output)}
    typed = type(lowered.model)()
    typed.CopyFrom(lowered.model)
    typed.graph.value_info.extend(value for value in known if value.name not in given)
    inferred = shape_inference.infer_shapes(typed).graph
    types = {value.name: _element(value) for value in (*inferred.input, *inferred.output, *inferred.value_info)}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    small = {t.name for t in graph.initializer if _count(t) <= SMALL}
    constants = {t.name for t in graph.initializer}
    return _Model([*graph.node], types, small, constants, {value.name for value in graph.input})


def _element(value: ValueInfoProto) -> int:
    return value.type.tensor_type.elem_type


def _count(tensor: TensorProto) -> int:
    total = 1
    for length in tensor.dims:
        total *= length
    return total


def _has_kernel(model: _Model, node: NodeProto, table: Kernels) -> bool:
    candidates = table.get((node.op_type, node.domain), ())
    inputs, outputs = (_types(model, [*names]) for names in (node.input, node.output))
    return any(kernel.takes(inputs, outputs) for kernel in candidates)


def _types(model: _Model, names: Sequence[str]) -> Mapping[int, str]:
    known = {place: model.types.get(name, 0) for place, name in enumerate(names) if name}
    return {place: TensorProto.DataType.Name(dtype).lower() for place, dtype in known.items() if dtype}


def _size_nodes(model: _Model, elsewhere: set[int]) -> set[int]:
    """The nodes with a CUDA kernel that run on the CPU all the same, as they read what lies there and nothing else."""
    on_host: set[str] = set()
    queue: list[int] = []
    for index, node in enumerate(model.nodes):
        if index not in elsewhere and node.op_type in HOST_OUTPUTS:
            on_host.update(node.output)
            queue += [reader for name in node.output for reader, _ in model.readers.get(name, [])]
    heapq.heapify(queue)
    found: set[int] = set()
    while queue:
        index = heapq.heappop(queue)
        node = model.nodes[index]
        if index in found or index in elsewhere or not _is_of_sizes(model, node, on_host):
            continue
        found.add(index)
        on_host.update(node.output)
        for name in node.output:
            for reader, _ in model.readers.get(name, []):
                heapq.heappush(queue, reader)
    return found


def _is_of_sizes(model: _Model, node: NodeProto, on_host: set[str]) -> bool:
    for place, name in enumerate(node.input):
        if not name:
            continue
        if model.types.get(name) in HALVES:
            return False
        if name in model.small or name in model.inputs:
            continue
        if name not in on_host or place in HOST_INPUTS.get(node.op_type, ()):
            return False
    return True


def _copies(model: _Model, host: set[int]) -> list[str]:
    """The values that are read in other memory than they lie in."""
    makers = {name: index for index, node in enumerate(model.nodes) for name in node.output if name}
    copies: list[str] = []
    for name, readers in model.readers.items():
        if name in model.constants:
            continue
        on_host = [
            index in host or place in HOST_INPUTS.get(model.nodes[index].op_type, ()) for index, place in readers
        ]
        if name in makers:
            maker = makers[name]
            lies_on_host = maker in host or model.nodes[maker].op_type in HOST_OUTPUTS
            wrong = any(place != lies_on_host for place in on_host)
        else:
            wrong = any(on_host) and not all(on_host)
        if wrong:
            copies.append(name)
    return copies
