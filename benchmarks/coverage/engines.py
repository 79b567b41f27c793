"""The two ways a compiled language model runs, behind one face: the reference interpreter, and a built artifact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from graphwright.ir import Dim, Graph, Interpreter, Program
from graphwright.ir.weights import torch_dtype
from graphwright.runtime import Decoder, KVCache, Model

GARBAGE = 1e4
"""What caches hold at first: a number that shows if it is ever read."""


class Engine(Protocol):
    """A batch under way. Rows stand at their own lengths."""

    def step(self, ids: Tensor, new: Tensor, positions: Tensor) -> Tensor:
        """Logits [B, N, V] at `positions` (i64 [B, N], among the new ones) after each row's first `new` (i64 [B]) of
        `ids` (i64 [B, S]); the rest of a row is padding. A row without new tokens is at its end."""
        ...


Start = Callable[[int, int], Engine]
"""Starts a batch: number of rows, and the most tokens that a row will hold with its padding."""


def interpreted(program: Program) -> Start:
    """By the reference interpreter: the graph `decode` where each row has one token, else `prefill`."""
    return lambda batch, capacity: _Interpreted(program, batch, capacity)


def loaded(model: Model) -> Start:
    """By the runtime, over one shared cache."""
    return lambda batch, capacity: _Loaded(model, batch, capacity)


class _Interpreted:
    def __init__(self, program: Program, batch: int, capacity: int) -> None:
        self.program = program
        self.interpreter = Interpreter()
        self.past = torch.zeros(batch, dtype=torch.int64)
        self.states: dict[str, Tensor] = empty_states(program.graphs["prefill"], batch, capacity)

    def step(self, ids: Tensor, new: Tensor, positions: Tensor) -> Tensor:
        decoding = ids.shape[1] == positions.shape[1] == 1 and bool((new == 1).all())
        graph = self.program.graphs["decode" if decoding else "prefill"]
        lengths = {"past_length": self.past, "new_length": new, "logit_positions": positions}
        given = {"input_ids": ids, **lengths, **self.states}
        outputs = self.interpreter.run(graph, {str(v.name): given[str(v.name)] for v in graph.inputs})
        self.states = {name: outputs[name.replace("past", "present", 1)] for name in self.states}
        self.past = self.past + new
        return outputs["logits"]


def empty_states(graph: Graph, batch: int, capacity: int) -> dict[str, Tensor]:
    """The states of a generation graph before the first token: caches full of garbage, recurrent states at zero."""
    sizes = {"B": batch, "C": capacity}
    states: dict[str, Tensor] = {}
    for value in graph.inputs:
        if value.name is not None and value.name.startswith("past."):
            grows = any(Dim.of("C") is dim for dim in value.type.shape)
            shape = [d.evaluate(sizes) for d in value.type.shape]
            states[value.name] = torch.full(shape, GARBAGE if grows else 0, dtype=torch_dtype(value.type.dtype))
    return states


class _Loaded:
    def __init__(self, model: Model, batch: int, capacity: int) -> None:
        self.decoder = Decoder(KVCache(model.loaded.session, batch, capacity))

    def step(self, ids: Tensor, new: Tensor, positions: Tensor) -> Tensor:
        # The runtime has no rows at their end: these go on with a token that nobody looks at.
        lengths = new.clamp(min=1).numpy()
        logits = torch.tensor(self.decoder.step(ids.numpy(), lengths, positions.numpy()))
        self.decoder.cache.advance(lengths)
        return logits
