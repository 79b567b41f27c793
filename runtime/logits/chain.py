"""The logits processors that options ask for, in the order of Hugging Face transformers.

So equal options mean the same tokens. What transformers does not have, `logit_bias`, `presence_penalty` and
`frequency_penalty`, stands behind its next of kin.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from graphwright.runtime.logits.biases import LogitBias, SequenceBias, SuppressTokens, make_finite, no_bad_words
from graphwright.runtime.logits.history import LogitsProcessor
from graphwright.runtime.logits.lengths import EndReward, ForcedTokens, MinimumLength
from graphwright.runtime.logits.repetition import (
    ContextReward,
    CountPenalties,
    NoNgramsOfContext,
    NoRepeatedNgrams,
    RepetitionPenalty,
)
from graphwright.runtime.options import GenerationOptions


@dataclass(frozen=True)
class RowFacts:
    """What processors know of a row beside its tokens.

    `limit` is how many tokens may follow the prompt of `prompt_length`; `eos_tokens` are the model's own,
    `stop_tokens` the caller's. `context` is the token ids of an encoder's context, of the prompt where there is no
    encoder, and None where the encoder reads an array.
    """

    prompt_length: int
    limit: int
    vocabulary_size: int
    eos_tokens: frozenset[int] = frozenset()
    stop_tokens: frozenset[int] = frozenset()
    context: tuple[int, ...] | None = None


def processors(options: GenerationOptions, row: RowFacts) -> list[LogitsProcessor]:
    """What the options ask for; none where they ask for nothing."""
    return [*_biases(options, row), *_repetitions(options, row), *_lengths(options, row), *_suppressions(options, row)]


def _biases(options: GenerationOptions, row: RowFacts) -> Iterator[LogitsProcessor]:
    if options.sequence_bias:
        yield SequenceBias(options.sequence_bias, row.vocabulary_size)
    if options.logit_bias:
        yield LogitBias(options.logit_bias)


def _repetitions(options: GenerationOptions, row: RowFacts) -> Iterator[LogitsProcessor]:
    context = None if row.context is None else np.array(row.context, dtype=np.int64)
    if options.encoder_repetition_penalty != 1 and context is not None:
        yield ContextReward(options.encoder_repetition_penalty, context)
    if options.repetition_penalty != 1:
        yield RepetitionPenalty(options.repetition_penalty)
    if options.presence_penalty or options.frequency_penalty:
        yield CountPenalties(options.presence_penalty, options.frequency_penalty)
    if options.no_repeat_ngram_size:
        yield NoRepeatedNgrams(options.no_repeat_ngram_size)
    if options.encoder_no_repeat_ngram_size and context is not None:
        yield NoNgramsOfContext(options.encoder_no_repeat_ngram_size, context)
    if options.bad_words_ids:
        yield no_bad_words(options.bad_words_ids, row.eos_tokens, row.vocabulary_size)


def _lengths(options: GenerationOptions, row: RowFacts) -> Iterator[LogitsProcessor]:
    least = options.min_length
    if options.min_new_tokens is not None:
        least = row.prompt_length + options.min_new_tokens
    ends = row.eos_tokens | row.stop_tokens
    if least > row.prompt_length and ends:
        yield MinimumLength(least, ends)
    if options.forced_bos_token_id is not None:
        yield ForcedTokens([options.forced_bos_token_id], 1)
    if options.forced_eos_token_id:
        yield ForcedTokens(options.forced_eos_token_id, row.prompt_length + row.limit - 1)


def _suppressions(options: GenerationOptions, row: RowFacts) -> Iterator[LogitsProcessor]:
    if options.remove_invalid_values:
        yield make_finite
    if options.exponential_decay_length_penalty is not None and row.eos_tokens:
        yield EndReward(*options.exponential_decay_length_penalty, row.eos_tokens)
    if options.suppress_tokens:
        yield SuppressTokens(options.suppress_tokens)
    if options.begin_suppress_tokens:
        # A forced first token is not the beginning of what the model says.
        forced = options.forced_bos_token_id is not None and row.prompt_length == 1
        yield SuppressTokens(options.begin_suppress_tokens, row.prompt_length + forced)
