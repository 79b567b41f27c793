"""A program in the reference interpreter as what can be evaluated, and as what writes text of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from graphwright.errors import UsageError
from graphwright.ir import Interpreter
from graphwright.ir.convention import (
    BOS_TOKEN_IDS,
    EOS_TOKEN_IDS,
    INPUT_IDS,
    LOGITS,
    PREFILL,
    context_window,
    is_decoder,
)
from graphwright.ir.interpreter import threads_for
from graphwright.ir.lazy import torch
from graphwright.passes.calibration import calibration_graph
from graphwright.passes.proving.cached import CachedRun
from graphwright.passes.proving.trial_selection import row_flops

if TYPE_CHECKING:
    from torch import Tensor

    from graphwright.ir import Graph, Program
    from graphwright.runtime.evaluation import Logits
    from graphwright.runtime.token_rows import Ids

FREE_CONTEXT = 512
"""Tokens of context of a program that does not say how many it takes."""


class InterpreterLanguageModel:
    """Reads rows with the interpreter. Raises `PassError` for a program that takes more than token ids."""

    def __init__(self, program: Program) -> None:
        self._graph: Graph = calibration_graph(program)
        self.program = program
        self._interpreter = Interpreter()

    @property
    def vocabulary_size(self) -> int:
        return self._graph.outputs[LOGITS].type.shape[-1].evaluate({})

    @property
    def context_length(self) -> int | None:
        return context_window(self.program)

    def start(self, batch: int, capacity: int) -> InterpreterRows:
        """Empty rows for so many tokens."""
        return InterpreterRows(self, CachedRun(self.program, self._interpreter, batch, capacity))

    def blocks(self, rows: Ids, size: int) -> Iterator[Logits]:
        """See `graphwright.runtime.evaluation.LanguageModel`."""
        ids = torch.as_tensor(rows)
        if not is_decoder(self.program):
            with threads_for(row_flops(self._graph, ids.shape[1]) * len(ids)):
                logits = self._interpreter.run(self._graph, {INPUT_IDS: ids})[LOGITS]
            for first in range(0, ids.shape[1], size):
                yield logits[:, first : first + size].float().numpy()
            return
        run = self.start(*ids.shape)
        for first in range(0, ids.shape[1], size):
            yield run.step(ids[:, first : first + size]).float().numpy()


class InterpreterRows:
    """Rows under way: all get the same number of new tokens at each step."""

    def __init__(self, language: InterpreterLanguageModel, run: CachedRun) -> None:
        self._run = run
        self._flops = row_flops(language.program.graphs[PREFILL], 1)

    def step(self, ids: Tensor) -> Tensor:
        """Logits [B, S, V] at all of the new tokens i64 [B, S]."""
        batch, length = ids.shape
        with threads_for(self._flops * batch * length):
            new, positions = torch.full((batch,), length), torch.arange(length).expand(batch, length)
            return self._run.step(ids, new, positions).logits


def sample_rows(language: InterpreterLanguageModel, rows: int, length: int, seed: int) -> Ids:
    """Rows int64 [rows, length] that the model writes itself: drawn token by token from its own distribution.

    A row begins with the model's start token, or one drawn evenly where it has none; where it ends, another begins.
    Raises UsageError for a program without a cache, which would compute every row anew at each token.
    """
    program = language.program
    if not is_decoder(program):
        raise UsageError(f"'{program.name}' has no cache to write text with: give calibration tokens")
    generator = torch.Generator().manual_seed(seed)
    begin, ends = metadata_tokens(program, BOS_TOKEN_IDS)[:1], metadata_tokens(program, EOS_TOKEN_IDS)
    ids = torch.randint(language.vocabulary_size, (rows, length), generator=generator)
    if begin:
        ids[:, 0] = begin[0]
    run = language.start(rows, length)
    ended = torch.tensor(ends, dtype=torch.int64)
    for place in range(1, length):
        logits = run.step(ids[:, place - 1 : place])[:, -1]
        drawn = torch.multinomial(logits.float().softmax(-1), 1, generator=generator)[:, 0]
        if begin:
            drawn = torch.where(torch.isin(ids[:, place - 1], ended), ids[:, 0], drawn)
        ids[:, place] = drawn
    return ids.numpy()


def metadata_tokens(program: Program, name: str) -> list[int]:
    """Token ids that a program's metadata lists under a name; none where it lists nothing."""
    found = program.metadata.get(name)
    return [token for token in found if isinstance(token, int)] if isinstance(found, tuple) else []
