"""Sampling: each filter against its definition, and the properties that hold for all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from graphwright.runtime import GenerationError, GenerationOptions, SessionError
from graphwright.runtime.logits import History, RowFacts
from graphwright.runtime.logits.filters import likeliest_tokens
from graphwright.runtime.logits.repetition import RepetitionPenalty
from graphwright.runtime.sampling import Distribution, Sampler, distribution, draw, log_normalizer, number_at

# Multiples of 1/16, so that different logits have different probabilities.
LOGITS = hnp.arrays(np.float32, st.integers(1, 60), elements=st.integers(-480, 480).map(lambda number: number / 16))


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    scaled = logits.astype(np.float64) / temperature
    weights = np.exp(scaled - scaled.max())
    return weights / weights.sum()


def facts(vocabulary_size: int, prompt_length: int = 0) -> RowFacts:
    return RowFacts(prompt_length=prompt_length, limit=100, vocabulary_size=vocabulary_size)


def choices(logits: np.ndarray, count: int, **options: object) -> list[int]:
    sampler = Sampler(GenerationOptions.model_validate(options), facts(logits.size), [])
    return [sampler.choose(logits) for _ in range(count)]


@given(LOGITS)
def test_greedy_is_the_first_of_the_greatest(logits: np.ndarray) -> None:
    assert choices(logits, 1) == [int(np.flatnonzero(logits == logits.max())[0])]


@given(LOGITS, st.floats(0.05, 5))
def test_without_filters_the_distribution_is_softmax(logits: np.ndarray, temperature: float) -> None:
    found = distribution(logits, GenerationOptions(temperature=temperature))
    np.testing.assert_array_equal(found.tokens, np.arange(logits.size))
    np.testing.assert_allclose(found.probabilities, softmax(logits, temperature), rtol=1e-4, atol=1e-30)


@given(LOGITS, st.integers(1, 80))
def test_top_k_keeps_the_k_likeliest(logits: np.ndarray, k: int) -> None:
    found = distribution(logits, GenerationOptions(temperature=1, top_k=k))
    expected = sorted(range(logits.size), key=lambda token: (-logits[token], token))[:k]
    assert sorted(found.tokens.tolist()) == sorted(expected)


@given(LOGITS, st.floats(0.01, 1))
def test_top_p_keeps_the_fewest_that_hold_p(logits: np.ndarray, top_p: float) -> None:
    found = distribution(logits, GenerationOptions(temperature=1, top_p=top_p))
    probabilities = softmax(logits)
    held = probabilities[found.tokens]
    share = float(np.float32(top_p))
    assert held.sum() >= share - 1e-9
    if share < 1:
        assert held.sum() - held.min() < share + 1e-9
    left_out = np.delete(probabilities, found.tokens)
    assert left_out.max(initial=0) <= held.min() + 1e-12


@given(LOGITS, st.floats(0, 1))
def test_min_p_keeps_those_near_the_likeliest(logits: np.ndarray, min_p: float) -> None:
    found = distribution(logits, GenerationOptions(temperature=1, min_p=min_p))
    ratio = np.exp(logits.astype(np.float64) - logits.max())
    assert set(found.tokens.tolist()) >= set(np.flatnonzero(ratio > min_p * (1 + 1e-6)).tolist())
    assert set(found.tokens.tolist()) <= set(np.flatnonzero(ratio >= min_p * (1 - 1e-6)).tolist())


@given(LOGITS, st.floats(0.1, 3), st.integers(0, 70), st.floats(0.01, 1), st.floats(0, 1))
def test_any_filters_leave_the_likeliest_and_a_distribution(
    logits: np.ndarray, temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    options = GenerationOptions(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    found = distribution(logits, options)
    assert np.isclose(found.probabilities.sum(), 1)
    assert len(set(found.tokens.tolist())) == found.tokens.size
    assert logits.max() in logits[found.tokens]


def test_the_filters_are_applied_in_the_documented_order() -> None:
    # Probabilities 0.4, 0.3, 0.2, 0.1; top_k=3 makes them 4/9, 3/9, 2/9, so 0.75 of the mass is held by two.
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.1], dtype=np.float32))
    found = distribution(logits, GenerationOptions(temperature=1, top_k=3, top_p=0.75))
    assert found.tokens.tolist() == [0, 1]
    assert distribution(logits, GenerationOptions(temperature=1, top_p=0.75)).tokens.tolist() == [0, 1, 2]


def test_top_p_over_a_flat_large_vocabulary() -> None:
    found = distribution(np.zeros(20_000, dtype=np.float32), GenerationOptions(temperature=1, top_p=0.9))
    assert found.tokens.tolist() == list(range(18_000))


def test_tiny_temperature_is_greedy() -> None:
    assert set(choices(np.array([1, 3, 2], dtype=np.float32), 50, temperature=1e-300, seed=0)) == {1}


def test_a_masked_token_is_never_drawn() -> None:
    assert set(choices(np.array([-np.inf, 0, -np.inf, 0], dtype=np.float32), 200, temperature=1, seed=0)) == {1, 3}


@given(st.integers(0, 2**32))
def test_a_seed_repeats(seed: int) -> None:
    logits = np.linspace(0, 2, 30, dtype=np.float32)
    assert choices(logits, 10, temperature=1, seed=seed) == choices(logits, 10, temperature=1, seed=seed)


def test_rows_and_seeds_have_their_own_streams() -> None:
    logits = np.zeros(1000, dtype=np.float32)
    drawn: set[tuple[int, ...]] = set()
    for seed in (0, 1):
        for row in (0, 1):
            sampler = Sampler(GenerationOptions(temperature=1, seed=seed), facts(1000), [], row)
            drawn.add(tuple(sampler.choose(logits) for _ in range(5)))
    assert len(drawn) == 4


def test_the_number_of_a_place_is_a_function_of_seed_and_row_alone() -> None:
    """Pinned: artifacts and runtimes of two releases draw the same."""
    key = Sampler(GenerationOptions(temperature=1, seed=7), facts(4), [], 2).key
    assert key.tolist() == [18279110831140952437, 10100442772938007519]
    assert [number_at(key, place) for place in (2, 0, 1)] == [
        0.3268598100956067,
        0.007672472832699118,
        0.3993305377081262,
    ]


def test_a_token_does_not_depend_on_the_tokens_that_were_drawn_before() -> None:
    logits = np.zeros(1000, dtype=np.float32)
    options = GenerationOptions(temperature=1, seed=3)
    drawn = [Sampler(options, facts(1000), prompt).choose(logits) for prompt in ([1, 2], [5, 5])]
    assert drawn[0] == drawn[1]


def test_filters_leave_tokens_in_the_order_of_the_vocabulary() -> None:
    logits = np.array([1, 3, 2, 3], dtype=np.float32)
    for options in (
        GenerationOptions(temperature=1, top_k=3),
        GenerationOptions(temperature=1, top_p=0.9),
        GenerationOptions(temperature=1, min_p=0.3),
    ):
        assert distribution(logits, options).tokens.tolist() == [1, 2, 3]


def test_a_program_draws_by_what_it_knows_and_no_more() -> None:
    simple = GenerationOptions(temperature=0.5, top_k=3, top_p=0.9, min_p=0.1)
    given = Sampler(simple, facts(9), []).by_program
    assert given is not None
    assert given.tolist() == np.array([0.5, 3, 0.9, 0.1], np.float32).tolist()
    for name in ("typical_p", "epsilon_cutoff", "eta_cutoff", "top_h", "presence_penalty"):
        other = GenerationOptions.model_validate({"temperature": 1, name: 0.5})
        assert Sampler(other, facts(9), []).by_program is None


def test_frequencies_follow_the_distribution() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], dtype=np.float32))
    count = 20_000
    counts = np.bincount(choices(logits, count, temperature=1, seed=7), minlength=4)
    expected = softmax(logits) * count
    # Chi-square with 3 degrees of freedom exceeds 21.1 once in ten thousand.
    assert ((counts - expected) ** 2 / expected).sum() < 21.1


@given(st.integers(1, 2000), st.floats(0, 1, exclude_max=True), st.integers(0, 2**32))
def test_drawing_inverts_the_cumulative_distribution(size: int, uniform: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    weights = generator.random(size) * (generator.random(size) < 0.5)
    weights[generator.integers(size)] = 1
    probabilities = weights / weights.sum()
    token = draw(Distribution(np.arange(size), probabilities), uniform)
    assert probabilities[token] > 0
    # Sums in another order may differ by rounding.
    assert probabilities[: token + 1].sum() > uniform - 1e-12
    assert probabilities[:token].sum() <= uniform + 1e-12


def test_repetition_penalty_divides_positive_and_multiplies_negative_logits() -> None:
    logits = np.array([2, -2, 4, -4], dtype=np.float32)
    RepetitionPenalty(2.0)(logits, History([0, 1, 1]))
    np.testing.assert_array_equal(logits, np.array([1, -4, 4, -4], dtype=np.float32))


def test_options_that_forbid_every_token_are_refused() -> None:
    with pytest.raises(GenerationError, match="the options forbid every token after 0 tokens"):
        choices(np.zeros(3, dtype=np.float32), 1, suppress_tokens=[0, 1, 2])


def test_invalid_values_are_removed_on_request() -> None:
    logits = np.array([0, np.nan, -1, -np.inf], dtype=np.float32)
    assert choices(logits, 1, remove_invalid_values=True) == [0]
    assert choices(np.array([1, np.inf], dtype=np.float32), 1, remove_invalid_values=True) == [1]
    assert np.isnan(logits[1]), "the program's own logits are left as they are"


def test_repetition_penalty_covers_prompt_and_continuation() -> None:
    logits = np.array([3.0, 2.9, 2.8, 0.0], dtype=np.float32)
    sampler = Sampler(GenerationOptions(repetition_penalty=1.5), facts(4, 1), prompt=[0])
    assert [sampler.choose(logits) for _ in range(3)] == [1, 2, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("temperature", [0, 1])
def test_logits_that_are_no_numbers_are_an_error(bad: float, temperature: float) -> None:
    with pytest.raises(SessionError, match="not finite"):
        choices(np.array([0, bad, 1], dtype=np.float32), 1, temperature=temperature)
    with pytest.raises(SessionError, match="not finite"):
        choices(np.full(3, -np.inf, dtype=np.float32), 1, temperature=temperature)


@given(LOGITS)
def test_log_probabilities_are_those_of_softmax(logits: np.ndarray) -> None:
    np.testing.assert_allclose(np.exp(logits.astype(np.float64) - log_normalizer(logits)), softmax(logits), rtol=2e-6)


@given(LOGITS, st.integers(0, 70))
def test_likeliest_tokens_are_sorted_with_ties_by_id(logits: np.ndarray, count: int) -> None:
    expected = sorted(range(logits.size), key=lambda token: (-logits[token], token))[:count]
    assert likeliest_tokens(logits, min(count, logits.size)).tolist() == expected
