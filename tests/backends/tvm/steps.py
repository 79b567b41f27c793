"""Graphs compiled into one library, and called with torch's tensors as the runtime calls it."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.cpu import Cpu, host_cpu
from graphwright.backends.tvm.emit.graph import INPUT_ORDER, OUTPUT_ORDER, is_updated_in_place
from graphwright.backends.tvm.linking import write_library
from graphwright.backends.tvm.lower import build_steps, plan_graphs
from graphwright.backends.weights_file import write_weights
from graphwright.ir.graph import Graph, Value
from graphwright.ir.interpreter import bind_symbols
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.types import StateType
from graphwright.runtime.artifact import FunctionSpec
from graphwright.runtime.element_types import ElementTypeName
from graphwright.runtime.engines.native_library import NativeValue, load_functions
from graphwright.runtime.engines.native_library import Tensor as NativeTensor

ALIGNMENT = 64


def aligned(tensor: Tensor) -> Tensor:
    """A dense copy that begins at a multiple of 64 bytes."""
    size = tensor.numel() * tensor.element_size()
    memory = torch.zeros(size + ALIGNMENT, dtype=torch.uint8)
    begin = -memory.data_ptr() % ALIGNMENT
    copy = memory[begin : begin + size].view(tensor.dtype).reshape(tensor.shape)
    return copy.copy_(tensor)


class Steps:
    """The graphs' functions. Results come by the names of the graphs' outputs."""

    def __init__(
        self,
        graphs: Sequence[Graph],
        folder: Path,
        cpu: Cpu | None = None,
        chosen: Mapping[str, Settings] = MappingProxyType({}),
    ) -> None:
        self.graphs = {graph.name: graph for graph in graphs}
        cpu = cpu or host_cpu()
        planned = plan_graphs(graphs, cpu, chosen)
        write_weights(folder / "weights.safetensors", planned.weights, planned.layout)
        self._memory = torch.as_tensor(np.fromfile(folder / "weights.safetensors", np.uint8))
        self.weights = aligned(self._memory)
        self.dimensions = sorted(graphs[-1].symbols)
        write_library(build_steps(planned, graphs), folder / "steps.so")
        functions = load_functions(folder / "steps.so", [FunctionSpec(name=graph.name) for graph in graphs])
        self.functions = {function.spec.name: function for function in functions}

    def run(self, name: str, inputs: Mapping[str, Tensor], threads: int = 2) -> dict[str, Tensor]:
        """One step; inputs stay as they are."""
        graph = self.graphs[name]
        sizes = bind_symbols(graph, inputs)
        order = sorted(graph.inputs, key=lambda v: INPUT_ORDER[_layout(v)])
        given = {str(v.name): aligned(inputs[str(v.name)]) for v in order}
        changed = self._changed(graph, given)
        written = [(n, v) for n, v in graph.outputs.items() if n not in changed]
        made = {
            n: aligned(torch.zeros([d.evaluate(sizes) for d in v.type.shape], dtype=torch_dtype(v.tensor.dtype)))
            for n, v in sorted(written, key=lambda item: OUTPUT_ORDER[_layout(item[1])])
        }
        workspace = aligned(torch.full((self.workspace(name, sizes),), 0xA5, dtype=torch.uint8))
        assert self.call(name, [*given.values(), *made.values(), self.weights, workspace], threads) == 0
        return {n: changed[n] if n in changed else made[n] for n in graph.outputs}

    def workspace(self, name: str, sizes: Mapping[str, int]) -> int:
        """The bytes that a step of these sizes needs."""
        given = [sizes.get(each, 0) for each in self.dimensions]
        return self.functions[name].workspace((ctypes.c_int64 * len(given))(*given))

    def call(self, name: str, tensors: Sequence[Tensor], threads: int) -> int:
        """What the step gives: 0 where it has run."""
        values = [NativeValue(_array(each), _element(each)) for each in tensors]
        return self.functions[name].run((NativeTensor * len(values))(*(each.tensor for each in values)), threads)

    def _changed(self, graph: Graph, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs that are inputs, changed in place."""
        found: dict[str, Tensor] = {}
        for name, value in graph.outputs.items():
            if is_updated_in_place(value):
                source = value
                while source.owner is not None:
                    source = source.owner.inputs[0]
                found[name] = given[str(source.name)]
        return found


def _layout(value: Value) -> str | None:
    return value.type.layout if isinstance(value.type, StateType) else None


def _element(tensor: Tensor) -> ElementTypeName:
    return cast(ElementTypeName, str(tensor.dtype).removeprefix("torch."))


def _array(tensor: Tensor) -> Any:
    """Over the tensor's memory."""
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
