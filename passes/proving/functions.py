"""The trial of a plain function: the same inputs, at several sizes, one output like the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphwright.ir import Graph, Interpreter, Program, UserError
from graphwright.ir.convention import BATCH, DECODER_INPUT_IDS, ENCODE, FORWARD, INPUT_IDS
from graphwright.ir.lazy import torch
from graphwright.passes.proving.answers import Answer, Step, Truth
from graphwright.passes.proving.inputs import as_declared, chosen, random_input

if TYPE_CHECKING:
    from torch import Tensor

SEED = 5


@dataclass(frozen=True)
class FunctionTrial:
    """Inputs of `forward`, by the name of the case, and the names of its outputs."""

    cases: dict[str, dict[str, Tensor]]
    outputs: frozenset[str]

    def truth(self, program: Program, interpreter: Interpreter) -> Truth:
        return {a.key: a.values for a in self.answers(program, interpreter)}

    def whole(self, program: Program, interpreter: Interpreter, key: str) -> Step | None:
        return next((a.step for a in self.answers(program, interpreter) if a.key == key), None)

    def answers(self, program: Program, interpreter: Interpreter) -> Iterator[Answer]:
        for case, given in self.cases.items():
            step = self._step(program, interpreter, given)
            outputs = interpreter.run(step.graph, step.inputs)
            if outputs.keys() != self.outputs:
                names = (", ".join(sorted(each)) for each in (outputs, self.outputs))
                raise UserError("graph 'forward' gives {}, where it gave {}".format(*names))
            for name, value in outputs.items():
                numbers = value.reshape(value.shape[0] if value.dim() > 1 else 1, -1).double()
                yield Answer(FORWARD, f"{name} at {case}", torch.arange(len(numbers)), numbers, step)

    def _step(self, program: Program, interpreter: Interpreter, given: Mapping[str, Tensor]) -> Step:
        """The run of `forward`; where the context has been split off, after `encode`."""
        graph, encode = program.graphs[FORWARD], program.graphs.get(ENCODE)
        if encode is None:
            return Step(graph, chosen(graph, as_declared(graph, given)))
        encoded = interpreter.run(encode, chosen(encode, as_declared(encode, given)))
        return Step(graph, chosen(graph, {**given, **encoded, INPUT_IDS: given[DECODER_INPUT_IDS]}))


def function_trial(graph: Graph, length: int, numbered: bool) -> FunctionTrial:
    """A batch of one at the length, of two at a shorter one, and lengths of one, as far as the graph leaves them free.

    Lengths that are independent differ. `numbered` adds a case in which integers that pick nothing count up.
    """
    cases: dict[str, dict[str, Tensor]] = {}
    lengths = sorted(graph.symbols - {BATCH})
    asked = [(1, length, False), (2, 7, False), (3, 1, False), *([(2, 6, True)] if numbered else [])]
    for batch, first, counts in asked:
        sizes = {BATCH: batch} | {s: first + 2 * i for i, s in enumerate(lengths)}
        sizes = {s: n for s, n in sizes.items() if s in graph.symbols}
        generator = torch.Generator().manual_seed(SEED)
        case = ", ".join(f"{name}={size}" for name, size in sizes.items()) or "fixed sizes"
        inputs = {str(v.name): random_input(graph, v, sizes, generator, counts) for v in graph.inputs}
        cases[f"{case}, integers that count" if counts else case] = inputs
    return FunctionTrial(cases, frozenset(graph.outputs))
