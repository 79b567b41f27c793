"""Graphs compiled into one library, and called with torch's tensors as the runtime calls it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.cpu import Cpu, host_cpu
from graphwright.backends.tvm.emit.graph import INPUT_ORDER, OUTPUT_ORDER, is_updated_in_place
from graphwright.backends.tvm.linking import write_library
from graphwright.backends.tvm.lower import build_steps, plan_graphs
from graphwright.backends.tvm.tvm_library import tvm, tvm_ffi
from graphwright.backends.weights_file import write_weights
from graphwright.ir.graph import Graph, Value
from graphwright.ir.interpreter import bind_symbols
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.types import StateType
from graphwright.runtime.engines.tvm_threads import Threads
from graphwright.runtime.tvm_api import import_tvm

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
        write_library(build_steps(planned, graphs, cpu), folder / "steps.so")
        self.library = tvm.runtime.load_module(str(folder / "steps.so"))

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
        bytes = self.library[f"{name}_workspace"](*(sizes[d] for d in self.dimensions))
        workspace = aligned(torch.full((bytes,), 0xA5, dtype=torch.uint8))
        workspace[:8] = 0
        tensors = [*given.values(), *made.values(), self.weights, workspace]
        Threads(import_tvm(), threads).run(self.library[name], [*map(_shared, tensors), threads])
        return {n: changed[n] if n in changed else made[n] for n in graph.outputs}

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


def _shared(tensor: Tensor) -> Any:
    return tvm_ffi.from_dlpack(tensor)
