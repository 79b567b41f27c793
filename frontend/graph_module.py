"""Capture of a traced torch.fx graph, as torch.compile hands it to a backend."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from graphwright.frontend.build import build_program, stored_array
from graphwright.frontend.calling import call_with
from graphwright.frontend.conditions import Axes
from graphwright.frontend.inputs import LENGTHS
from graphwright.frontend.traced_graph import expression
from graphwright.ir import Program, UnsupportedError
from graphwright.ir.convention import ARCHITECTURE, BATCH, PARAMETERS

SYMBOLS = (BATCH, *LENGTHS, "X", "Y", "Z")
"""For the sizes that stayed free, in the order of their inputs."""


@dataclass(frozen=True)
class GraphInputs:
    """What each input of a traced graph is, by its index.

    `tensors` are inputs of the program; `frozen` ones become weights of these names; `sizes` are read off tensors, by
    index and axis; `numbers` stand in the graph as the constants that they are at the time of the capture.
    """

    tensors: tuple[int, ...]
    frozen: Mapping[int, str]
    sizes: Mapping[int, tuple[int, int]]
    numbers: tuple[int, ...]


def sort_inputs(graph: torch.fx.GraphModule, *, freeze: bool) -> GraphInputs:
    """The inputs of a graph by their kinds; `freeze` says whether parameters and buffers become weights."""
    placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
    places: dict[Any, tuple[int, int]] = {}
    tensors: list[int] = []
    frozen: dict[int, str] = {}
    for i, node in enumerate(placeholders):
        fake, origin = node.meta.get("example_value"), node.meta.get("grapharg")
        # torch.compile passes numbers whose value it has not fixed as tensors without axes.
        if not isinstance(fake, torch.Tensor) or getattr(origin, "pass_arg_as_tensor", False):
            continue
        source = getattr(origin, "source", None)
        if freeze and source is not None and source.guard_source.is_unspecialized_nn_module():
            frozen[i] = node.name
            continue
        tensors.append(i)
        for axis, size in enumerate(fake.shape):
            if isinstance(size, torch.SymInt):
                places.setdefault(expression(size), (i, axis))
    sizes: dict[int, tuple[int, int]] = {}
    numbers: list[int] = []
    for i, node in enumerate(placeholders):
        fake = node.meta.get("example_value")
        if isinstance(fake, torch.SymInt) and expression(fake) in places:
            sizes[i] = places[expression(fake)]
        elif i not in frozen and i not in tensors:
            numbers.append(i)
    return GraphInputs(tuple(tensors), frozen, sizes, tuple(numbers))


def capture_graph_module(
    graph: torch.fx.GraphModule, inputs: GraphInputs, examples: Sequence[Any], kept: Sequence[int]
) -> Program:
    """The program of a traced graph at these example inputs, with its dynamic sizes as symbols.

    Its inputs are the tensors, `input.I` for index I; its outputs the results at the indices `kept`, `output.0` and on.
    """
    module = _Call(graph, inputs, examples, kept).eval()
    fakes = [node.meta.get("example_value") for node in graph.graph.nodes if node.op == "placeholder"]
    names: dict[Any, str] = {}
    traced: dict[str, tuple[torch.Tensor, Axes]] = {}
    for i in inputs.tensors:
        free = {
            axis: expression(size)
            for axis, size in enumerate(fakes[i].shape)
            if isinstance(size, torch.SymInt) and expression(size).is_Symbol
        }
        traced[f"input.{i}"] = (examples[i].detach(), {axis: _symbol(size, names) for axis, size in free.items()})
    weights = {name: stored_array(buffer) for name, buffer in module.named_buffers()}
    facts = {ARCHITECTURE: "torch.compile", PARAMETERS: sum(b.numel() for b in module.buffers())}
    # torch.compile traces again at the sizes that its own guards exclude
    return build_program("graph", module, call_with((), {}), traced, weights, facts, guarded=True)


class _Call(torch.nn.Module):
    """The graph as a module of tensors alone."""

    def __init__(
        self, graph: torch.fx.GraphModule, inputs: GraphInputs, examples: Sequence[Any], kept: Sequence[int]
    ) -> None:
        super().__init__()
        self.graph = graph
        self._inputs = inputs
        self._kept = list(kept)
        self._numbers = {i: _Number.of(examples[i]) for i in inputs.numbers}
        for i, name in inputs.frozen.items():
            self.register_buffer(name, examples[i].detach())

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given: dict[int, Any] = dict(zip(self._inputs.tensors, tensors, strict=True))
        given |= {i: given[tensor].shape[axis] for i, (tensor, axis) in self._inputs.sizes.items()}
        given |= {i: getattr(self, name) for i, name in self._inputs.frozen.items()}
        given |= self._numbers
        results = self.graph(*(given[i] for i in sorted(given)))
        return tuple(results[i] for i in self._kept)


@dataclass(frozen=True)
class _Number:
    """Stands for a tensor without axes of which the graph takes the item."""

    value: float

    @classmethod
    def of(cls, example: Any) -> Any:
        return cls(example.item()) if isinstance(example, torch.Tensor) else example

    def item(self) -> float:
        return self.value


def _symbol(size: Any, names: dict[Any, str]) -> str:
    if size not in names and len(names) == len(SYMBOLS):
        raise UnsupportedError(f"the graph has more than {len(SYMBOLS)} dynamic sizes")
    return names.setdefault(size, SYMBOLS[min(len(names), len(SYMBOLS) - 1)])
