"""The generation loop: one prefill for all rows of a batch, then one decode step a token; and what it returns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt

from graphwright.runtime.decoder import Decoder
from graphwright.runtime.logits import RowFacts
from graphwright.runtime.logits.filters import likeliest_tokens
from graphwright.runtime.options import GenerationOptions
from graphwright.runtime.sampling import Sampler, log_normalizer
from graphwright.runtime.streaming import IncrementalDecoder, StopStrings

if TYPE_CHECKING:
    from graphwright.runtime.tokenizer import Tokenizer


FinishReason = Literal["stop", "stop_string", "length", "cancelled"]
"""`stop`: an end-of-sequence or stop token; `length`: max_new_tokens, or the context is full."""


@dataclass(frozen=True)
class TokenLogProbability:
    """The natural log-probability the model itself gave a token, before penalty and temperature.

    `alternatives` are the likeliest tokens and theirs, likeliest first, as many as were asked for.
    """

    token_id: int
    log_probability: float
    alternatives: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Completion:
    """The continuation of one prompt.

    `token_ids` are all tokens generated, the one that ended the row included. `text` leaves out special tokens, the
    stop token and everything from a stop string on; it is None for a model without a tokenizer. `log_probabilities`
    has one entry a token when they were asked for.
    """

    token_ids: list[int]
    text: str | None
    finish_reason: FinishReason
    log_probabilities: list[TokenLogProbability] | None


class CancelSignal(Protocol):
    """Anything that tells, when asked between two steps, whether to stop; a `threading.Event` for one."""

    def is_set(self) -> bool: ...


class Row:
    """One row of a batch while it is continued.

    `prompt` is all tokens so far, `index` the row's place in the batch.
    """

    def __init__(
        self,
        prompt: list[int],
        *,
        options: GenerationOptions,
        facts: RowFacts,
        tokenizer: "Tokenizer | None",
        index: int = 0,
    ) -> None:
        self.prompt = prompt
        self.token_ids: list[int] = []
        self.finish_reason: FinishReason | None = None
        self.limit = facts.limit
        self._end_tokens = facts.stop_tokens if options.ignore_eos else facts.stop_tokens | facts.eos_tokens
        self._sampler = Sampler(options, facts, prompt, index)
        self._decoder = IncrementalDecoder(tokenizer, prompt) if tokenizer else None
        self._tokenizer = tokenizer
        marked = [stop for stop in options.stop_strings if tokenizer is not None and tokenizer.special_in(stop)]
        self._stop_strings = StopStrings(options.stop_strings, marked)
        self._pieces: list[str] = []
        self._alternatives = options.logprobs
        self._log_probabilities: list[TokenLogProbability] = []

    def accept(self, logits: npt.NDArray[np.float32]) -> str:
        """Choose the next token from `logits` (float32 [V]) and return the text that became final."""
        token = self._sampler.choose(logits)
        if self._alternatives is not None:
            self._log_probabilities.append(_log_probability(logits, token, self._alternatives))
        return self._accepted(token)

    @property
    def by_program(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint64]] | None:
        """By what a program chooses the row's tokens, and by which key, where the tokens are all that it wants to know
        of logits; else None."""
        sampling = self._sampler.by_program
        return None if sampling is None or self._alternatives is not None else (sampling, self._sampler.key)

    def accept_token(self, token: int) -> str:
        """Take the token that the program chose, and return the text that became final."""
        self._sampler.accept(token)
        return self._accepted(token)

    def _accepted(self, token: int) -> str:
        self.token_ids.append(token)
        piece = self._take(token)
        if self._stop_strings.found:
            self.finish_reason = "stop_string"
        elif token in self._end_tokens:
            return self._keep(piece) + self.finish("stop")
        elif len(self.token_ids) == self.limit:
            return self._keep(piece) + self.finish("length")
        return self._keep(piece)

    def _take(self, token: int) -> str:
        """The text that `token` makes final. An end token has none, even where it is not a special token."""
        if self._decoder is None or self._tokenizer is None:
            return ""
        if name := self._tokenizer.special_text(token):
            return self._stop_strings.push_special(name, self._decoder.held())
        return "" if token in self._end_tokens else self._stop_strings.push(self._decoder.push(token))

    def finish(self, reason: FinishReason) -> str:
        """End the row and return the text that was held back."""
        self.finish_reason = reason
        if self._decoder is None:
            return ""
        piece = self._stop_strings.push(self._decoder.finish())
        if self._stop_strings.found:
            self.finish_reason = "stop_string"
        return self._keep(piece + self._stop_strings.finish())

    def completion(self) -> Completion:
        assert self.finish_reason is not None, "the row is still being continued"
        return Completion(
            token_ids=self.token_ids,
            text="".join(self._pieces) if self._decoder else None,
            finish_reason=self.finish_reason,
            log_probabilities=self._log_probabilities if self._alternatives is not None else None,
        )

    def _keep(self, piece: str) -> str:
        if piece:
            self._pieces.append(piece)
        return piece


def continue_rows(
    decoder: Decoder, rows: Sequence[Row], pending: Sequence[Sequence[int]], cancel: CancelSignal | None
) -> Iterator[str]:
    """Feed each row its `pending` tokens (at least one), then continue all rows until each has a finish reason.

    Yields the text that each token of each row made final, often empty. Between two yields the decoder's cache holds
    exactly the tokens that were fed, so the iterator may be dropped at any time and the cache used on.
    """
    input_ids, new_length = _pad(pending)
    by_program = [each for row in rows if (each := row.by_program) is not None]
    on_device = decoder.chooses and len(by_program) == len(rows)
    sampling, keys = (np.stack(parts) for parts in zip(*by_program, strict=True)) if on_device else decoder.greedy
    while True:
        if cancel is not None and cancel.is_set():
            for row in rows:
                if row.finish_reason is None:
                    yield row.finish("cancelled")
            return
        wanted = new_length[:, None] - 1
        if on_device:
            chosen, logits = decoder.choose(input_ids, new_length, wanted, sampling, keys), None
        else:
            chosen, logits = None, decoder.step(input_ids, new_length, wanted)
        unfinished = np.array([row.finish_reason is None for row in rows])
        # A finished row is stepped along, since the batch's shape is fixed, but what it writes is not kept.
        decoder.cache.advance(new_length * unfinished)
        for index, row in enumerate(rows):
            if row.finish_reason is not None:
                continue
            if chosen is not None:
                yield row.accept_token(int(chosen[index, 0]))
            else:
                assert logits is not None, "the host chooses by them"
                yield row.accept(logits[index, 0])
        if all(row.finish_reason is not None for row in rows):
            return
        # A device goes on with all that it chose, also in rows that are finished.
        input_ids = np.array([row.token_ids[-1:] for row in rows], dtype=np.int64) if chosen is None else chosen
        new_length = np.ones(len(rows), dtype=np.int64)


def _pad(pending: Sequence[Sequence[int]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    lengths = np.array([len(tokens) for tokens in pending], dtype=np.int64)
    padded = np.zeros((len(pending), int(lengths.max())), dtype=np.int64)
    for row, tokens in zip(padded, pending, strict=True):
        row[: len(tokens)] = tokens
    return padded, lengths


def _log_probability(logits: npt.NDArray[np.float32], token: int, alternatives: int) -> TokenLogProbability:
    normalizer = log_normalizer(logits)
    likeliest = likeliest_tokens(logits, alternatives)
    return TokenLogProbability(
        token_id=token,
        log_probability=float(logits[token]) - normalizer,
        alternatives=tuple((int(other), float(logits[other]) - normalizer) for other in likeliest),
    )
