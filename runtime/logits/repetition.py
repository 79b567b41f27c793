"""Penalties on tokens that were there already, a reward for those of the context, and no n-gram twice."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from graphwright.runtime.logits.history import History, Ids, Logits


class RepetitionPenalty:
    """Divides the logits of tokens in prompt or continuation by `penalty`, or multiplies them where negative.

    CTRL (Keskar et al. 2019, section 4.1) divides all; dividing a negative logit would reward it, so it is
    multiplied, as Hugging Face does.
    """

    def __init__(self, penalty: float) -> None:
        self._penalty = np.float32(penalty)

    def __call__(self, logits: Logits, history: History) -> None:
        _penalize(logits, history.tokens, self._penalty)


class ContextReward:
    """The repetition penalty of 1 / `reward` on the tokens of the context: above 1 it keeps to their words.

    This is `encoder_repetition_penalty` of Hugging Face.
    """

    def __init__(self, reward: float, context: Ids) -> None:
        self._penalty = np.float32(1 / reward)
        self._context = context

    def __call__(self, logits: Logits, history: History) -> None:
        _penalize(logits, self._context, self._penalty)


class CountPenalties:
    """Subtracts `presence` of each token in the continuation, and `frequency` for each time that it is there.

    The prompt does not count. This is what the OpenAI API's parameters of these names do.
    """

    def __init__(self, presence: float, frequency: float) -> None:
        self._presence = presence
        self._frequency = frequency

    def __call__(self, logits: Logits, history: History) -> None:
        tokens, counts = np.unique(history.new_tokens, return_counts=True)
        logits[tokens] -= (self._presence + self._frequency * counts).astype(np.float32)


def _penalize(logits: Logits, tokens: Ids, penalty: np.float32) -> None:
    chosen = logits[tokens]
    logits[tokens] = np.where(chosen < 0, chosen * penalty, chosen / penalty)


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
