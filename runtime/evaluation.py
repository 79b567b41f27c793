"""How well a model predicts rows of tokens, and how far its predictions are from another model's."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from graphwright.runtime.cache import KVCache
from graphwright.runtime.decoder import Decoder
from graphwright.runtime.errors import DataError
from graphwright.runtime.model import Model
from graphwright.runtime.token_rows import Ids

Logits = npt.NDArray[np.float32]

NUMBERS_AT_ONCE = 1 << 24
"""Logits that are held at once, of each model."""
ROWS_AT_ONCE = 8


class LanguageModel(Protocol):
    """A language model that reads token ids alone."""

    @property
    def vocabulary_size(self) -> int: ...

    @property
    def context_length(self) -> int | None: ...

    def blocks(self, rows: Ids, size: int) -> Iterator[Logits]:
        """Logits float32 [B, n, V] at every position of rows [B, S], `size` positions after another; valid until the
        next block is asked for."""
        ...


@dataclass(frozen=True)
class Score:
    """Means over `tokens` predicted tokens: negative log-likelihood in `nats`; and over all positions, against another
    model, KL divergence in nats a token and the share of positions whose likeliest token is the same."""

    rows: int
    length: int
    nats: float
    kl: float | None = None
    agreement: float | None = None

    @property
    def tokens(self) -> int:
        return self.rows * (self.length - 1)

    @property
    def perplexity(self) -> float:
        return float(np.exp(self.nats))


@dataclass(frozen=True)
class Evaluation:
    """A score on a text, of which a token stands for so many bytes on average (None where there was no text)."""

    score: Score
    bytes_per_token: float | None

    @property
    def perplexity(self) -> float:
        """Of a token."""
        return self.score.perplexity

    @property
    def byte_perplexity(self) -> float | None:
        """Of a byte of text, which can be compared between tokenizers."""
        return None if self.bytes_per_token is None else float(np.exp(self.score.nats / self.bytes_per_token))


def score(model: LanguageModel, rows: Ids, against: LanguageModel | None = None) -> Score:
    """The model's score on rows int64 [R, S]; with `against`, KL(against ‖ model) and agreement too.

    Computed in float64. Raises DataError for rows that do not fit a context, and for models of different vocabularies.
    """
    for each in (model, *([] if against is None else [against])):
        if each.context_length is not None and rows.shape[1] > each.context_length:
            raise DataError(f"rows of {rows.shape[1]} tokens exceed the model's context of {each.context_length}")
    if against is not None and against.vocabulary_size != model.vocabulary_size:
        sizes = f"{model.vocabulary_size} and {against.vocabulary_size}"
        raise DataError(f"the models have different vocabularies, of {sizes} tokens: they cannot be compared")
    sums = np.zeros(3)
    for batch, size in _batches(rows, model.vocabulary_size):
        sums += _sums(model, batch, size, against)
    nats, kl, agreeing = sums / (rows.shape[0] * np.array([rows.shape[1] - 1, rows.shape[1], rows.shape[1]]))
    compared = against is not None
    kl, agreeing = (float(kl), float(agreeing)) if compared else (None, None)
    return Score(rows.shape[0], rows.shape[1], float(nats), kl, agreeing)


def _batches(rows: Ids, vocabulary_size: int) -> Iterator[tuple[Ids, int]]:
    """Some rows at a time, and how many of their positions at once."""
    count = max(1, min(ROWS_AT_ONCE, NUMBERS_AT_ONCE // (rows.shape[1] * vocabulary_size)))
    for first in range(0, len(rows), count):
        yield rows[first : first + count], max(1, min(rows.shape[1], NUMBERS_AT_ONCE // (count * vocabulary_size)))


def _sums(model: LanguageModel, rows: Ids, size: int, against: LanguageModel | None) -> npt.NDArray[np.float64]:
    """Over these rows: negative log-likelihoods, divergences, agreeing positions."""
    total = np.zeros(3)
    others = iter(()) if against is None else against.blocks(rows, size)
    position = 0
    for block in model.blocks(rows, size):
        logs = _log_softmax(block)
        targets = rows[:, position + 1 : position + 1 + logs.shape[1], None]
        total[0] -= np.take_along_axis(logs[:, : targets.shape[1]], targets, -1).sum()
        for other in (next(others),) if against is not None else ():
            wanted = _log_softmax(other)
            total[1] += (np.exp(wanted) * (wanted - logs)).sum()
            total[2] += (wanted.argmax(-1) == logs.argmax(-1)).sum()
        position += logs.shape[1]
    return total


def _log_softmax(logits: Logits) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


class RuntimeLanguageModel:
    """Reads rows with a model's session. Raises DataError for a model with an encoder: its tokens stand beside more."""

    def __init__(self, model: Model) -> None:
        if model.manifest.program.encoder is not None:
            raise DataError("a model with an encoder cannot be evaluated on text alone")
        self._session = model.loaded.session

    @property
    def vocabulary_size(self) -> int:
        return self._session.vocabulary_size

    @property
    def context_length(self) -> int:
        return self._session.context_length

    def blocks(self, rows: Ids, size: int) -> Iterator[Logits]:
        """See `LanguageModel`: the rows' keys and values go through a cache, as when text is generated."""
        decoder = Decoder(KVCache(self._session, *rows.shape))
        for first in range(0, rows.shape[1], size):
            ids = np.ascontiguousarray(rows[:, first : first + size])
            lengths = np.full(len(ids), ids.shape[1], dtype=np.int64)
            positions: Ids = np.tile(np.arange(ids.shape[1], dtype=np.int64), (len(ids), 1))
            yield decoder.step(ids, lengths, positions)
            decoder.cache.advance(lengths)
