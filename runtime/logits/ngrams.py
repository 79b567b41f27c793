"""No n-gram twice: not again in the sequence, or not one of the context's."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from graphwright.runtime.logits.history import History, Ids, Logits


class NoRepeatedNgrams:
    """Forbids each token that would complete an n-gram, of `size` tokens, that prompt and continuation hold already.

    Paulus et al. 2017, section 2.5, for trigrams.
    """

    def __init__(self, size: int) -> None:
        self._size = size

    def __call__(self, logits: Logits, history: History) -> None:
        logits[_completions(history.tokens, history.tokens, self._size)] = -np.inf


class NoNgramsOfContext:
    """Forbids each token that would complete an n-gram, of `size` tokens, of the context."""

    def __init__(self, size: int, context: Ids) -> None:
        self._size = size
        self._context = context

    def __call__(self, logits: Logits, history: History) -> None:
        logits[_completions(self._context, history.tokens, self._size)] = -np.inf


def _completions(source: Ids, tokens: Ids, size: int) -> Ids:
    """What follows the last `size` - 1 of `tokens` wherever they stand in `source`."""
    if len(source) < size or len(tokens) < size - 1:
        return np.empty(0, dtype=np.int64)
    windows = sliding_window_view(source, size)
    matches = (windows[:, :-1] == tokens[len(tokens) + 1 - size :]).all(axis=1)
    return windows[matches, -1]
