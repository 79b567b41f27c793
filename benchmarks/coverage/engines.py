"""The two ways a compiled language model runs, behind one face: the reference interpreter, and a built artifact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from graphwright.ir import Interpreter, Program
from graphwright.ir.convention import CONTEXT_LENGTH
from graphwright.ir.interpreter import Precision
from graphwright.passes.proving.cached import CachedRun
from graphwright.runtime import Decoder, KVCache, Model
from graphwright.runtime.encoder import encode


class Engine(Protocol):
    """A batch under way. Rows stand at their own lengths."""

    def step(self, ids: Tensor, new: Tensor, positions: Tensor) -> Tensor:
        """Logits [B, N, V] at `positions` (i64 [B, N], among the new ones) after each row's first `new` (i64 [B]) of
        `ids` (i64 [B, S]); the rest of a row is padding. A row without new tokens is at its end."""
        ...


Start = Callable[[int, int], Engine]
"""Starts a batch: number of rows, and the most tokens that a row will hold with its padding."""


def interpreted(program: Program, contexts: Sequence[Tensor] = (), precision: Precision = "reference") -> Start:
    """By the reference interpreter: the graph `decode` where each row has one token, else `prefill`.

    `contexts` are those of the rows, without a batch axis, for a program that reads any.
    """
    return lambda batch, capacity: _Interpreted(program, batch, capacity, contexts[:batch], precision)


def loaded(model: Model, contexts: Sequence[Tensor] = ()) -> Start:
    """By the runtime, over one shared cache."""
    return lambda batch, capacity: _Loaded(model, batch, capacity, contexts[:batch])


class _Interpreted:
    def __init__(
        self, program: Program, batch: int, capacity: int, contexts: Sequence[Tensor], precision: Precision
    ) -> None:
        encode = program.graphs["encode"] if contexts else None
        names = [str(v.name) for v in encode.inputs if v.name != CONTEXT_LENGTH] if encode is not None else []
        given = [dict.fromkeys(names, c) for c in contexts]
        self.run = CachedRun(program, Interpreter(precision), batch, capacity, given)

    def step(self, ids: Tensor, new: Tensor, positions: Tensor) -> Tensor:
        return self.run.step(ids, new, positions).logits


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
