"""The two ways a compiled language model runs, behind one face: the reference interpreter, and a built artifact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from graphwright.ir import Dim, Graph, Interpreter, Program
from graphwright.ir.weights import torch_dtype
from graphwright.runtime import Decoder, KVCache, Model
from graphwright.runtime.encoder import encode

PADDED = 7
"""What contexts are padded with."""

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


def interpreted(program: Program, contexts: Sequence[Tensor] = ()) -> Start:
    """By the reference interpreter: the graph `decode` where each row has one token, else `prefill`.

    `contexts` are those of the rows, without a batch axis, for a program that reads any.
    """
    return lambda batch, capacity: _Interpreted(program, batch, capacity, contexts[:batch])


def loaded(model: Model, contexts: Sequence[Tensor] = ()) -> Start:
    """By the runtime, over one shared cache."""
    return lambda batch, capacity: _Loaded(model, batch, capacity, contexts[:batch])


class _Interpreted:
    def __init__(self, program: Program, batch: int, capacity: int, contexts: Sequence[Tensor]) -> None:
        self.program = program
        self.interpreter = Interpreter()
        self.past = torch.zeros(batch, dtype=torch.int64)
        self.states: dict[str, Tensor] = empty_states(program.graphs["prefill"], batch, capacity)
        self.context = _encoded(program.graphs["encode"], contexts) if contexts else {}

    def step(self, ids: Tensor, new: Tensor, positions: Tensor) -> Tensor:
        decoding = ids.shape[1] == positions.shape[1] == 1 and bool((new == 1).all())
        graph = self.program.graphs["decode" if decoding else "prefill"]
        lengths = {"past_length": self.past, "new_length": new, "logit_positions": positions}
        given = {"input_ids": ids, **lengths, **self.states, **self.context}
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
            states[value.name] = torch.full(shape, GARBAGE if grows else 0, dtype=torch_dtype(value.tensor.dtype))
    return states


def _encoded(encode: Graph, contexts: Sequence[Tensor]) -> dict[str, Tensor]:
    """What a program makes of contexts that are padded on the right to the longest."""
    lengths = torch.tensor([len(context) for context in contexts])
    longest = int(lengths.max())
    batch = [torch.cat((c, c.new_full((longest - len(c), *c.shape[1:]), PADDED))) for c in contexts]
    given = {str(v.name): lengths if v.name == "context_length" else torch.stack(batch) for v in encode.inputs}
    return {**Interpreter().run(encode, given), "context_length": lengths}


class _Loaded:
    def __init__(self, model: Model, batch: int, capacity: int, contexts: Sequence[Tensor]) -> None:
        session = model.loaded.session
        context = encode(session, [each.numpy() for each in contexts]) if contexts else None
        self.decoder = Decoder(KVCache(session, batch, capacity), context)

    def step(self, ids: Tensor, new: Tensor, positions: Tensor) -> Tensor:
        # The runtime has no rows at their end: these go on with a token that nobody looks at.
        lengths = new.clamp(min=1).numpy()
        logits = torch.tensor(self.decoder.step(ids.numpy(), lengths, positions.numpy()))
        self.decoder.cache.advance(lengths)
        return logits
