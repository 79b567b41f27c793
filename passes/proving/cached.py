"""A generation program in the reference interpreter: a batch of rows under way, with its caches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphwright.ir import Dim, Graph, Interpreter, Program
from graphwright.ir.convention import (
    BATCH,
    CAPACITY,
    CONTEXT_LENGTH,
    ENCODE,
    INPUT_IDS,
    LOGIT_POSITIONS,
    LOGITS,
    NEW_LENGTH,
    PAST_LENGTH,
    POSITIONS,
    PREFILL,
    SAMPLING,
    SAMPLING_KEY,
    SEQUENCE,
    is_past,
    present_of,
    step_graph,
)
from graphwright.ir.lazy import torch
from graphwright.ir.rounding import Grid
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.types import CODE_TYPES
from graphwright.passes.proving.inputs import as_declared, chosen, result

if TYPE_CHECKING:
    from torch import Tensor

GARBAGE = 1e4
"""What caches hold at first, those of codes the largest: a number that shows if it is ever read."""
PADDED = 7
"""What contexts are padded with."""

Context = Mapping[str, "Tensor"]
"""What one row is generated beside, by the names of the encoder's inputs, without a batch axis."""


@dataclass(frozen=True)
class Ran:
    """The graph that a step ran, what it was given, and logits [B, N, V] (all new tokens' where none can be chosen)."""

    graph: Graph
    inputs: dict[str, Tensor]
    logits: Tensor


class CachedRun:
    """Rows at their own lengths over one set of caches of `capacity` tokens; `contexts` as the program reads any."""

    def __init__(
        self, program: Program, interpreter: Interpreter, batch: int, capacity: int, contexts: Sequence[Context] = ()
    ) -> None:
        self.program = program
        self.interpreter = interpreter
        self.past = torch.zeros(batch, dtype=torch.int64)
        self.states: dict[str, Tensor] = empty_states(program.graphs[PREFILL], batch, capacity)
        self.context: dict[str, Tensor] = encoded(program.graphs[ENCODE], interpreter, contexts) if contexts else {}

    def step(self, ids: Tensor, new: Tensor, positions: Tensor) -> Ran:
        """Takes each row's first `new` (i64 [B]) of `ids` (i64 [B, S]); the rest of a row is padding.

        `positions` (i64 [B, N], among the new ones) are those whose logits are wanted. What runs is the graph that is
        made for these sizes, or `prefill` where there is none, or where a row has no new token.
        """
        sizes = {BATCH: len(ids), SEQUENCE: ids.shape[1], POSITIONS: positions.shape[1]}
        graph = step_graph(self.program, sizes) if bool((new > 0).all()) else self.program.graphs[PREFILL]
        lengths = {PAST_LENGTH: self.past, NEW_LENGTH: new, LOGIT_POSITIONS: positions}
        greedy = {SAMPLING: torch.zeros(len(ids), 4), SAMPLING_KEY: torch.zeros(len(ids), 2, dtype=torch.int64)}
        given = {INPUT_IDS: ids, **lengths, **greedy, **self.states, **self.context}
        inputs = chosen(graph, given)
        outputs = self.interpreter.run(graph, inputs)
        self.states = {name: result(graph, outputs, present_of(name)) for name in self.states}
        self.past = self.past + new
        return Ran(graph, inputs, result(graph, outputs, LOGITS))


def empty_states(graph: Graph, batch: int, capacity: int) -> dict[str, Tensor]:
    """The states of a generation graph before the first token: caches full of garbage, recurrent states at zero."""
    sizes = {BATCH: batch, CAPACITY: capacity}
    states: dict[str, Tensor] = {}
    for value in graph.inputs:
        if value.name is not None and is_past(value.name):
            grows = any(Dim.of(CAPACITY) is dim for dim in value.type.shape)
            shape = [d.evaluate(sizes) for d in value.type.shape]
            dtype = value.tensor.dtype
            garbage = Grid(dtype).most if dtype in CODE_TYPES else GARBAGE
            # One number seen from everywhere: calibration has the caches of all layers, and no op writes into them.
            states[value.name] = torch.tensor(garbage if grows else 0, dtype=torch_dtype(dtype)).expand(shape)
    return states


def encoded(encode: Graph, interpreter: Interpreter, contexts: Sequence[Context]) -> dict[str, Tensor]:
    """What a program makes of the rows' contexts, padded on the right to the longest, beside their lengths."""
    lengths = torch.tensor([len(next(iter(context.values()))) for context in contexts])
    names = [str(v.name) for v in encode.inputs if v.name != CONTEXT_LENGTH]
    given = {name: padded([context[name] for context in contexts]) for name in names}
    if len(names) < len(encode.inputs):
        given[CONTEXT_LENGTH] = lengths
    return {**interpreter.run(encode, as_declared(encode, given)), CONTEXT_LENGTH: lengths}


def padded(parts: Sequence[Tensor]) -> Tensor:
    """The parts as one batch, each padded behind its end to the longest."""
    longest = max(len(part) for part in parts)
    return torch.stack([torch.cat((p, p.new_full((longest - len(p), *p.shape[1:]), PADDED))) for p in parts])
