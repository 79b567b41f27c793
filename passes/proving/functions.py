"""The trial of a plain function: the same inputs, at several sizes, one output like the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphwright.ir import Graph, Interpreter, Program
from graphwright.ir.lazy import torch
from graphwright.passes.proving.answers import Answer, Step, Truth
from graphwright.passes.proving.inputs import as_declared, random_input

if TYPE_CHECKING:
    from torch import Tensor

SEED = 5


@dataclass(frozen=True)
class FunctionTrial:
    """Inputs of `forward`, by the name of the case."""

    cases: dict[str, dict[str, Tensor]]

    def truth(self, program: Program, interpreter: Interpreter) -> Truth:
        return {a.key: a.values for a in self.answers(program, interpreter)}

    def whole(self, program: Program, interpreter: Interpreter, key: str) -> Step | None:
        return next((a.step for a in self.answers(program, interpreter) if a.key == key), None)

    def answers(self, program: Program, interpreter: Interpreter) -> Iterator[Answer]:
        graph = program.graphs["forward"]
        for case, given in self.cases.items():
            inputs = as_declared(graph, given)
            for name, value in interpreter.run(graph, inputs).items():
                numbers = value.reshape(value.shape[0] if value.dim() > 1 else 1, -1).double()
                yield Answer("forward", f"{name} at {case}", torch.arange(len(numbers)), numbers, Step(graph, inputs))


def function_trial(graph: Graph, length: int) -> FunctionTrial:
    """A batch of one at the length, of two at a shorter one, and lengths of one, as far as the graph leaves them free.

    Lengths that are independent differ.
    """
    cases: dict[str, dict[str, Tensor]] = {}
    lengths = sorted(graph.symbols - {"B"})
    for batch, first in ((1, length), (2, 7), (3, 1)):
        sizes = {"B": batch} | {s: first + 2 * i for i, s in enumerate(lengths)}
        sizes = {s: n for s, n in sizes.items() if s in graph.symbols}
        generator = torch.Generator().manual_seed(SEED)
        case = ", ".join(f"{name}={size}" for name, size in sizes.items()) or "fixed sizes"
        cases[case] = {str(v.name): random_input(graph, v, sizes, generator) for v in graph.inputs}
    return FunctionTrial(cases)
