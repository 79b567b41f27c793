"""Each logits processor and filter, on random logits, against the one of transformers."""

from typing import Any, cast

import numpy as np
import pytest
import torch
from transformers.generation import logits_process as theirs

from graphwright.runtime.logits import History, Logits, RowFacts, processors
from graphwright.runtime.logits.filters import filters
from graphwright.runtime.options import GenerationOptions
from tests.tensors import listed

VOCABULARY = 12
EOS = 3
PROMPT = [5, 1, 2, 1, 2, 7]
ROWS = [PROMPT, [*PROMPT, 4], [*PROMPT, 4, 1, 2], [*PROMPT, 9, 9, 9, 5, 1, 2, 1]]
LIMIT = 8
"""So that the last row is the one before the limit's last token."""


def ids(tokens: list[int]) -> torch.LongTensor:
    """int64 [1, S]: `LongTensor`, as transformers asks for, is a class that torch itself no longer names."""
    return cast("torch.LongTensor", torch.tensor([tokens]))


CASES: list[tuple[dict[str, Any], Any]] = [
    (
        {"sequence_bias": [([4], 2.0), ([1, 2], -1.5), ([1, 2, 1], 0.75), ([4, 1, 2, 6], 3.0), ([2, 6], 1.0)]},
        theirs.SequenceBiasLogitsProcessor(
            [[[4], 2.0], [[1, 2], -1.5], [[1, 2, 1], 0.75], [[4, 1, 2, 6], 3.0], [[2, 6], 1.0]]
        ),
    ),
    ({"encoder_repetition_penalty": 1.5}, theirs.EncoderRepetitionPenaltyLogitsProcessor(1.5, ids(PROMPT))),
    ({"repetition_penalty": 1.3}, theirs.RepetitionPenaltyLogitsProcessor(1.3)),
    ({"repetition_penalty": 0.7}, theirs.RepetitionPenaltyLogitsProcessor(0.7)),
    *(({"no_repeat_ngram_size": n}, theirs.NoRepeatNGramLogitsProcessor(n)) for n in (1, 2, 3, 4, 20)),
    *(
        ({"encoder_no_repeat_ngram_size": n}, theirs.EncoderNoRepeatNGramLogitsProcessor(n, ids(PROMPT)))
        for n in (1, 2, 3, 4, 20)
    ),
    (
        {"bad_words_ids": [[4], [EOS], [1, 2], [2, 1, 0], [EOS, 5]]},
        theirs.NoBadWordsLogitsProcessor([[4], [EOS], [1, 2], [2, 1, 0], [EOS, 5]], EOS),
    ),
    ({"min_length": 8}, theirs.MinLengthLogitsProcessor(8, EOS)),
    ({"min_new_tokens": 3}, theirs.MinNewTokensLengthLogitsProcessor(len(PROMPT), 3, EOS)),
    ({"forced_eos_token_id": [EOS, 4]}, theirs.ForcedEOSTokenLogitsProcessor(len(PROMPT) + LIMIT, [EOS, 4])),
    (
        {"exponential_decay_length_penalty": (1, 1.7)},
        theirs.ExponentialDecayLengthPenalty((1, 1.7), EOS, len(PROMPT)),
    ),
    ({"suppress_tokens": [1, 8]}, theirs.SuppressTokensLogitsProcessor([1, 8])),
    ({"begin_suppress_tokens": [EOS, 8]}, theirs.SuppressTokensAtBeginLogitsProcessor([EOS, 8], len(PROMPT))),
]

FILTERS: list[tuple[dict[str, Any], Any]] = [
    *(({"top_h": h}, theirs.TopHLogitsWarper(h)) for h in (0.2, 0.5, 0.9)),
    *(({"top_k": k}, theirs.TopKLogitsWarper(k)) for k in (1, 3, 500)),
    *(({"top_p": p}, theirs.TopPLogitsWarper(p)) for p in (0.1, 0.6, 0.95)),
    *(({"min_p": p}, theirs.MinPLogitsWarper(p)) for p in (0.05, 0.5)),
    *(({"typical_p": p}, theirs.TypicalLogitsWarper(p)) for p in (0.1, 0.5, 0.95)),
    *(({"epsilon_cutoff": e}, theirs.EpsilonLogitsWarper(e)) for e in (0.01, 0.2, 0.9)),
    *(({"eta_cutoff": e}, theirs.EtaLogitsWarper(e)) for e in (0.01, 0.2, 0.9)),
]


def facts(prompt: list[int]) -> RowFacts:
    return RowFacts(
        prompt_length=len(prompt),
        limit=LIMIT,
        vocabulary_size=VOCABULARY,
        eos_tokens=frozenset({EOS}),
        context=tuple(prompt),
    )


def history(prompt: list[int], tokens: list[int]) -> History:
    found = History(prompt)
    for token in tokens[len(prompt) :]:
        found.append(token)
    return found


def random_logits(seed: int, size: int = VOCABULARY) -> Logits:
    return np.random.default_rng(seed).normal(0, 3, size).astype(np.float32)


def processed(options: dict[str, Any], tokens: list[int], logits: Logits, prompt: list[int] = PROMPT) -> Logits:
    logits = logits.copy()
    for process in processors(GenerationOptions.model_validate(options), facts(prompt)):
        process(logits, history(prompt, tokens))
    return logits


@pytest.mark.parametrize(("options", "original"), CASES, ids=[next(iter(o)) for o, _ in CASES])
def test_a_processor_is_that_of_transformers(options: dict[str, Any], original: Any) -> None:
    changed = False
    for seed, tokens in enumerate(ROWS):
        logits = random_logits(seed)
        expected = original(ids(tokens), torch.as_tensor(logits)[None].clone())[0].numpy()
        found = processed(options, tokens, logits)
        np.testing.assert_array_equal(found, expected)
        changed |= not np.array_equal(found, logits)
    assert changed or 20 in options.values(), "an n-gram longer than the rows changes nothing"


@pytest.mark.parametrize(("options", "original"), FILTERS, ids=[f"{o}" for o, _ in FILTERS])
def test_a_filter_is_that_of_transformers(options: dict[str, Any], original: Any) -> None:
    (keep,) = filters(GenerationOptions.model_validate({"temperature": 1, **options}))
    for seed in range(20):
        logits = random_logits(seed, 300)
        expected = original(ids([0]), torch.as_tensor(logits)[None])[0].numpy()
        assert sorted(keep(logits).tolist()) == np.flatnonzero(np.isfinite(expected)).tolist()


def test_filters_follow_each_other_as_in_transformers() -> None:
    options = {"top_h": 0.9, "top_k": 40, "top_p": 0.95, "min_p": 0.02, "typical_p": 0.9, "epsilon_cutoff": 0.03}
    chain = [
        theirs.TopHLogitsWarper(0.9),
        theirs.TopKLogitsWarper(40),
        theirs.TopPLogitsWarper(0.95),
        theirs.MinPLogitsWarper(0.02),
        theirs.TypicalLogitsWarper(0.9),
        theirs.EpsilonLogitsWarper(0.03),
        theirs.EtaLogitsWarper(0.05),
    ]
    for seed in range(20):
        logits = random_logits(seed, 300) / np.float32(3)
        scores = torch.as_tensor(logits)[None]
        for each in chain:
            scores = each(ids([0]), scores)
        tokens = np.arange(300)
        for keep in filters(GenerationOptions.model_validate({"temperature": 1, "eta_cutoff": 0.05, **options})):
            tokens = tokens[keep(logits[tokens])]
        assert sorted(tokens.tolist()) == listed(torch.isfinite(scores[0]).nonzero()[:, 0])


def test_a_forced_first_token_is_that_of_transformers() -> None:
    original = theirs.ForcedBOSTokenLogitsProcessor(4)
    for tokens in ([2], [2, 5]):
        logits = random_logits(0)
        expected = original(ids(tokens), torch.as_tensor(logits)[None].clone())[0].numpy()
        np.testing.assert_array_equal(processed({"forced_bos_token_id": 4}, tokens, logits, [2]), expected)


def test_what_may_not_come_first_comes_after_a_forced_first_token() -> None:
    options = {"forced_bos_token_id": 4, "begin_suppress_tokens": [6]}
    logits = random_logits(0)
    assert processed(options, [2], logits, [2])[4] == 0
    assert processed(options, [2, 4], logits, [2])[6] == -np.inf
    np.testing.assert_array_equal(processed(options, [2, 4, 1], logits, [2]), logits)


def test_presence_and_frequency_count_the_continuation_alone() -> None:
    logits = random_logits(0)
    tokens = [*PROMPT, 9, 9, 4]
    expected = logits.copy()
    expected[9] -= np.float32(0.5 + 2 * 0.25)
    expected[4] -= np.float32(0.5 + 0.25)
    found = processed({"presence_penalty": 0.5, "frequency_penalty": 0.25}, tokens, logits)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(processed({"presence_penalty": 0.5}, PROMPT, logits), logits)


def test_a_logit_bias_is_added() -> None:
    logits = random_logits(0)
    expected = logits.copy()
    expected[[4, 7]] += np.array([2.5, -np.inf], dtype=np.float32)
    np.testing.assert_array_equal(processed({"logit_bias": {4: 2.5, 7: -np.inf}}, PROMPT, logits), expected)


def test_the_least_length_holds_for_stop_tokens_too() -> None:
    row = RowFacts(prompt_length=1, limit=9, vocabulary_size=VOCABULARY, stop_tokens=frozenset({6}))
    logits = random_logits(0)
    for process in processors(GenerationOptions(min_new_tokens=1), row):
        process(logits, History([1]))
    assert np.flatnonzero(np.isinf(logits)).tolist() == [6]


def test_new_tokens_come_before_the_whole_length() -> None:
    logits = random_logits(0)
    np.testing.assert_array_equal(processed({"min_length": 50, "min_new_tokens": 0}, PROMPT, logits), logits)


def test_a_growing_reward_of_the_end_stays_a_number() -> None:
    prompt = [1]
    for logit in (2.0, -2.0, 0.0):
        logits = random_logits(0)
        logits[EOS] = logit
        found = processed({"exponential_decay_length_penalty": (0, 10.0)}, [1] * 1000, logits, prompt)
        assert np.isfinite(found).all()
        assert (found.argmax() == EOS) == (logit != 0)


def test_a_history_grows() -> None:
    grown = History([7, 8])
    for token in range(200):
        grown.append(token)
    assert grown.tokens.tolist() == [7, 8, *range(200)]
    assert grown.new_tokens.tolist() == list(range(200))
