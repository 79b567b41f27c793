"""Numbers added to the logits of tokens, alone or where they would end a sequence; minus infinity forbids, as it does
tokens that are suppressed."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from graphwright.runtime.logits.history import History, Ids, Logits


class SequenceBias:
    """Adds to a token's logit the bias of each sequence that it would complete; one token alone is one.

    `biases` are pairs of token ids and a number below infinity. Of a sequence that is there twice the last one holds.
    """

    def __init__(self, biases: Iterable[tuple[Sequence[int], float]], vocabulary_size: int) -> None:
        by_sequence = {tuple(sequence): bias for sequence, bias in biases}
        self._alone = np.zeros(vocabulary_size, dtype=np.float32)
        longer: dict[int, list[tuple[tuple[int, ...], float]]] = {}
        for sequence, bias in by_sequence.items():
            if len(sequence) == 1:
                self._alone[sequence[0]] = bias
            else:
                longer.setdefault(len(sequence) - 1, []).append((sequence, bias))
        self._longer = [_group(pairs) for pairs in longer.values()]

    def __call__(self, logits: Logits, history: History) -> None:
        bias = self._alone
        for beginnings, last, values in self._longer:
            length = beginnings.shape[1]
            if length > len(history):
                continue
            matches = (beginnings == history.tokens[-length:]).all(axis=1)
            if matches.any():
                bias = bias.copy()
                np.add.at(bias, last[matches], values[matches])
        logits += bias


def no_bad_words(words: Iterable[Sequence[int]], eos_tokens: Iterable[int], vocabulary_size: int) -> SequenceBias:
    """Forbids to complete any of `words`, token ids each; one that is an end-of-sequence token alone is left out.

    So does Hugging Face: lists of words that were made by a tokenizer often hold it.
    """
    ends = {(token,) for token in eos_tokens}
    forbidden = [(word, -np.inf) for word in words if tuple(word) not in ends]
    return SequenceBias(forbidden, vocabulary_size)


class LogitBias:
    """Adds its own number to each token's logit."""

    def __init__(self, biases: Mapping[int, float]) -> None:
        self._tokens = np.array(list(biases), dtype=np.int64)
        self._values = np.array(list(biases.values()), dtype=np.float32)

    def __call__(self, logits: Logits, history: History) -> None:
        logits[self._tokens] += self._values


def _group(pairs: list[tuple[tuple[int, ...], float]]) -> tuple[Ids, Ids, Logits]:
    """Of sequences of one length: all but their last tokens [n, length - 1], the last ones [n], the biases [n]."""
    sequences = np.array([sequence for sequence, _ in pairs], dtype=np.int64)
    return sequences[:, :-1], sequences[:, -1], np.array([bias for _, bias in pairs], dtype=np.float32)


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
