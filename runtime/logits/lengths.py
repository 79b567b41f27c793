"""Where a row may end, should end, or must."""

from collections.abc import Collection

import numpy as np

from graphwright.runtime.logits.history import History, Logits

_GREATEST = float(np.finfo(np.float32).max)


class MinimumLength:
    """Forbids the tokens that end a row while it has fewer than `length` tokens, the prompt's included."""

    def __init__(self, length: int, end_tokens: Collection[int]) -> None:
        self._length = length
        self._ends = sorted(end_tokens)

    def __call__(self, logits: Logits, history: History) -> None:
        if len(history) < self._length:
            logits[self._ends] = -np.inf


class ForcedTokens:
    """Leaves only `tokens` to choose where a row has exactly `length` tokens, the prompt's included."""

    def __init__(self, tokens: Collection[int], length: int) -> None:
        self._tokens = list(tokens)
        self._length = length

    def __call__(self, logits: Logits, history: History) -> None:
        if len(history) == self._length:
            logits.fill(-np.inf)
            logits[self._tokens] = 0


class EndReward:
    """Raises the end-of-sequence logits x by |x| (factor^n - 1), n the new tokens beyond the first `start`."""

    def __init__(self, start: int, factor: float, eos_tokens: Collection[int]) -> None:
        self._start = start
        self._factor = np.float64(factor)
        self._ends = sorted(eos_tokens)

    def __call__(self, logits: Logits, history: History) -> None:
        beyond = len(history) - history.prompt_length - self._start
        if beyond <= 0:
            return
        with np.errstate(over="ignore"):
            growth = min(float(self._factor**beyond), _GREATEST) - 1
            ends = logits[self._ends]
            raised = ends + np.where(np.isfinite(ends), np.abs(ends) * np.float32(growth), np.float32(0))
        logits[self._ends] = np.minimum(raised, np.float32(_GREATEST))
