"""Tokens that may not be chosen at all, or not first; logits that are not numbers."""

from collections.abc import Sequence

import numpy as np

from graphwright.runtime.logits.history import History, Logits


class SuppressTokens:
    """Forbids `tokens`, always or only where a row has exactly `length` tokens, the prompt's included."""

    def __init__(self, tokens: Sequence[int], length: int | None = None) -> None:
        self._tokens = list(tokens)
        self._length = length

    def __call__(self, logits: Logits, history: History) -> None:
        if self._length in (None, len(history)):
            logits[self._tokens] = -np.inf


def make_finite(logits: Logits, history: History) -> None:
    """0 for what is not a number, the greatest and the least float32 for infinities."""
    greatest = float(np.finfo(np.float32).max)
    np.nan_to_num(logits, copy=False, nan=0.0, posinf=greatest, neginf=-greatest)
