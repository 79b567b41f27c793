"""Runs a compiled program as a generator would: ragged rows in chunks, padded on the right, or greedily."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.coverage.engines import Start

PADDING = 5


def continued_logits(start: Start, rows: Sequence[Tensor], chunks: Sequence[int], capacity: int) -> list[Tensor]:
    """Logits [length, vocabulary] of every token of each row, fed in chunks that are padded on the right.

    Each row takes one token less of every chunk than the row before it, though at least one, until it ends: so rows go
    on after padding, which must have left no trace in their states.
    """
    batch = len(rows)
    engine = start(batch, capacity)
    past = [0] * batch
    found: list[list[Tensor]] = [[] for _ in rows]
    for size in chunks:
        parts = [row[p : p + max(size - i, 1)] for i, (row, p) in enumerate(zip(rows, past, strict=True))]
        counts = [len(part) for part in parts]
        ids = torch.stack([torch.nn.functional.pad(part, (0, size - len(part)), value=PADDING) for part in parts])
        logits = engine.step(ids, torch.tensor(counts), torch.arange(size).expand(batch, size).contiguous())
        for row, count in enumerate(counts):
            found[row].append(logits[row, :count])
            past[row] += count
    return [torch.cat(parts) for parts in found]


def greedy_tokens(start: Start, prompt: Tensor, steps: int) -> list[int]:
    """The likeliest next token after the prompt (i64 [S]), `steps` times, logits computed for the last token only."""
    engine = start(1, len(prompt) + steps)
    tokens: list[int] = []
    ids = prompt[None]
    for _ in range(steps):
        new = torch.tensor([ids.shape[1]])
        tokens.append(int(engine.step(ids, new, new[None] - 1)[0, 0].argmax()))
        ids = torch.tensor([tokens[-1:]])
    return tokens
