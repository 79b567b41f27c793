"""Options: defaults of the model, arguments over them, and refusals in one line."""

import numpy as np
import pytest

from graphwright.runtime import GenerationArguments, GenerationError, GenerationOptions
from graphwright.runtime.options import resolve_options


def test_greedy_when_nothing_is_said() -> None:
    assert resolve_options({}, {}) == GenerationOptions(temperature=0, top_k=0, top_p=1, min_p=0, repetition_penalty=1)


def test_arguments_override_the_models_defaults() -> None:
    sampling = {"temperature": 0.6, "top_k": 20}
    assert resolve_options(sampling, {"temperature": 0}).temperature == 0
    assert resolve_options(sampling, {"top_k": 5, "top_p": None}) == GenerationOptions(temperature=0.6, top_k=5)
    assert resolve_options({"suppress_tokens": [1]}, {"suppress_tokens": []}) == GenerationOptions()


@pytest.mark.parametrize("argument", [{"top_k": 5}, {"top_p": 0.9}, {"min_p": 0.1}, {"typical_p": 0.9}])
def test_a_filter_asks_for_sampling(argument: GenerationArguments) -> None:
    assert resolve_options({}, argument).temperature == 1
    greedy: GenerationArguments = {**argument, "temperature": 0}
    assert resolve_options({}, greedy).temperature == 0


def test_one_stop_string_needs_no_list() -> None:
    assert resolve_options({}, {"stop_strings": "ab"}).stop_strings == ("ab",)
    assert resolve_options({}, {"stop_strings": ["a", "b"]}).stop_strings == ("a", "b")


def test_numpy_scalars_are_numbers() -> None:
    options = resolve_options({}, {"max_new_tokens": np.int64(3), "temperature": np.float32(0.5)})  # type: ignore[typeddict-item]  # as callers do
    assert options == GenerationOptions(max_new_tokens=3, temperature=0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": -1}, "temperature is -1: must be at least 0"),
        ({"temperature": float("nan")}, "temperature is nan: must be"),
        ({"temperature": float("inf")}, "temperature is inf: must be a finite number"),
        ({"temperature": "hot"}, "temperature is 'hot': must be a number"),
        ({"top_p": 0}, "top_p is 0: must be above 0 and at most 1"),
        ({"top_p": 1.5}, "top_p is 1.5: must be above 0 and at most 1"),
        ({"min_p": 2}, "min_p is 2: must be at least 0 and at most 1"),
        ({"top_k": -1}, "top_k is -1: must be at least 0"),
        ({"repetition_penalty": 0}, "repetition_penalty is 0: must be at least 0.01 and at most 100"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0: must be at least 1"),
        ({"max_new_tokens": 1.5}, "max_new_tokens is 1.5: must be an integer"),
        ({"seed": -1}, "seed is -1: must be at least 0"),
        ({"stop_strings": ""}, "stop_strings.0 is '': must be at least one character long"),
        ({"stop_tokens": [-1]}, "stop_tokens.0 is -1: must be at least 0"),
        ({"logprobs": -1}, "logprobs is -1: must be at least 0"),
        ({"tempurature": 1}, "tempurature is not known here: did you mean temperature?"),
        ({"top_p": 2, "min_p": 2}, "top_p is 2: must be above 0 and at most 1 (and 1 more)"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size is -1: must be at least 0"),
        ({"bad_words_ids": [list[int]()]}, "bad_words_ids.0 is not valid: Tuple should have at least 1 item"),
        ({"logit_bias": {3: float("inf")}}, "logit_bias.3 is inf: must be below inf"),
        ({"logit_bias": {3: float("nan")}}, "logit_bias.3 is nan: must be below inf"),
        ({"logit_bias": {-3: 1.0}}, "logit_bias.-3.[key] is -3: must be at least 0"),
        ({"sequence_bias": {(): 1.0}}, "sequence_bias.0.0 is (): Tuple should have at least 1 item"),
        ({"presence_penalty": float("inf")}, "presence_penalty is inf: must be a finite number"),
        ({"epsilon_cutoff": 1}, "epsilon_cutoff is 1: must be at least 0 and below 1"),
        ({"top_h": 0}, "top_h is 0: must be above 0 and at most 1"),
        ({"min_new_tokens": 5, "max_new_tokens": 4}, "min_new_tokens is 5, more than max_new_tokens, 4"),
        (
            {"forced_bos_token_id": 3, "suppress_tokens": [3]},
            "every token of forced_bos_token_id is in suppress_tokens",
        ),
        ({"forced_eos_token_id": [3], "suppress_tokens": [3, 4]}, "every token of forced_eos_token_id is in"),
    ],
)
def test_refusals(arguments: GenerationArguments, message: str) -> None:
    with pytest.raises(GenerationError) as caught:
        resolve_options({}, arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_biases_in_their_forms() -> None:
    assert resolve_options({}, {"sequence_bias": {(1, 2): 0.5}}).sequence_bias == (((1, 2), 0.5),)
    assert resolve_options({}, {"sequence_bias": [([1, 2], 0.5)]}).sequence_bias == (((1, 2), 0.5),)
    assert resolve_options({}, {"logit_bias": {3: float("-inf")}}).logit_bias == {3: float("-inf")}
    assert resolve_options({}, {"forced_eos_token_id": 3}).forced_eos_token_id == (3,)
