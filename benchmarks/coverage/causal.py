"""The checks of a causal language model: against eager, at every step, however the tokens come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchmarks.coverage.continuation import continued_logits, greedy_tokens
from benchmarks.coverage.engines import Start
from benchmarks.coverage.reference import LENGTHS, STEPS, Reference, worst

CAPACITY = 64


@dataclass(frozen=True)
class Feeding:
    """How many of the rows take part, and in which pieces their tokens come in."""

    rows: int
    chunks: Sequence[int]


FEEDINGS = {
    "prefill": Feeding(1, LENGTHS[:1]),
    "chunked": Feeding(1, (7, 1, 3, 5, 1, 9, 2)),
    "decode": Feeding(1, (1,) * LENGTHS[0]),
    "ragged": Feeding(3, (7, 1, 1, 3, 5, 1, 1, 9)),
}


def errors(start: Start, reference: Reference) -> dict[str, float]:
    """The largest error of any logit over its bound, for each way of feeding."""
    found: dict[str, float] = {}
    with torch.no_grad():
        for name, feeding in FEEDINGS.items():
            logits = continued_logits(start, reference.rows[: feeding.rows], feeding.chunks, CAPACITY)
            found[name] = worst(logits, reference.exact[: feeding.rows]) / reference.bound
    return found


def greedy_agreement(start: Start, reference: Reference) -> tuple[int, str]:
    """How many greedy tokens are eager's before the first that is not, and a remark if that one was nearly a tie."""
    with torch.no_grad():
        tokens = greedy_tokens(start, reference.rows[-1], STEPS)
    agreed = next((i for i, (a, b) in enumerate(zip(tokens, reference.greedy, strict=True)) if a != b), STEPS)
    tie = agreed < STEPS and reference.gaps[agreed] < 2 * reference.bound
    return agreed, f"greedy token {agreed} is a tie within the bound" if tie else ""
