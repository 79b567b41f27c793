"""Capture of a traced torch.fx graph, as torch.compile hands it to a backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from graphwright.frontend.build import build_program, stored_array
from graphwright.frontend.specialization import Axes
from graphwright.frontend.traced_graph import expression
from graphwright.ir import Program, UnsupportedError

SYMBOLS = ("B", "S", "T", "U", "V", "W", "X", "Y", "Z")
"""For the sizes that stayed free, in the order of their inputs."""


class _Call(torch.nn.Module):
    """The graph as a module of tensors alone: its sizes are read off them, its frozen inputs are buffers.

    `plan` tells for each input of the graph its source: "tensor" and which one, "size" and the tensor and axis, or
    "frozen" and the buffer's name.
    """

    def __init__(self, graph: torch.fx.GraphModule, plan: Sequence[tuple[str, Any]], kept: Sequence[int]) -> None:
        super().__init__()
        self.graph = graph
        self.plan = list(plan)
        self.kept = list(kept)

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given: list[Any] = []
        for kind, what in self.plan:
            if kind == "frozen":
                given.append(getattr(self, what))
            elif kind == "size":
                tensor, axis = what
                given.append(inputs[tensor].shape[axis])
            else:
                given.append(inputs[what])
        results = self.graph(*given)
        return tuple(results[i] for i in self.kept)


def capture_graph_module(
    graph: torch.fx.GraphModule,
    fakes: Sequence[Any],
    examples: Sequence[Any],
    frozen: Mapping[int, str],
    kept: Sequence[int],
) -> Program:
    """The program of a traced graph whose inputs are tensors and sizes.

    `fakes` are the inputs with symbolic sizes, `examples` real ones. Inputs in `frozen` become weights of these names.
    Of the results those at the indices `kept` are given, as `output.0`, `output.1` and so on. The inputs of the
    program are `input.0` and so on: the tensors that are not frozen, in order.
    """
    tensors = [i for i, e in enumerate(examples) if isinstance(e, torch.Tensor) and i not in frozen]
    sizes = {
        str(expression(size)): (place, axis)
        for place, i in reversed(list(enumerate(tensors)))
        for axis, size in enumerate(fakes[i].shape)
        if isinstance(size, torch.SymInt)
    }
    plan: list[tuple[str, Any]] = []
    for i, example in enumerate(examples):
        if i in frozen:
            plan.append(("frozen", frozen[i]))
        elif isinstance(example, torch.Tensor):
            plan.append(("tensor", tensors.index(i)))
        elif isinstance(fakes[i], torch.SymInt) and str(expression(fakes[i])) in sizes:
            plan.append(("size", sizes[str(expression(fakes[i]))]))
        else:
            raise UnsupportedError(f"input {i} of the graph is the number {example}, which is no tensor's size")
    module = _Call(graph, plan, kept).eval()
    for i in frozen:
        module.register_buffer(frozen[i], examples[i].detach())
    names: dict[str, str] = {}
    inputs: dict[str, tuple[torch.Tensor, Axes]] = {}
    for place, i in enumerate(tensors):
        axes = {
            axis: _symbol(str(expression(size)), names)
            for axis, size in enumerate(fakes[i].shape)
            if isinstance(size, torch.SymInt) and expression(size).is_Symbol
        }
        inputs[f"input.{place}"] = (examples[i].detach(), axes)
    weights = {name: stored_array(buffer) for name, buffer in module.named_buffers()}
    facts = {"architecture": "torch.compile", "parameters": sum(b.numel() for b in module.buffers())}
    return build_program("graph", module, lambda model, *given: model(*given), inputs, weights, facts)


def _symbol(size: str, names: dict[str, str]) -> str:
    if size not in names and len(names) == len(SYMBOLS):
        raise UnsupportedError(f"the graph has more than {len(SYMBOLS)} dynamic sizes")
    return names.setdefault(size, SYMBOLS[min(len(names), len(SYMBOLS) - 1)])
