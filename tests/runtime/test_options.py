"""Options: defaults of the model, arguments over them, and refusals in one line."""

from typing import Any

import numpy as np
import pytest

from graphwright.runtime import ArtifactError, GenerationError, GenerationOptions
from graphwright.runtime.options import read_defaults, resolve_options


def defaults(text: str) -> dict[str, Any]:
    return read_defaults(text, "generation_config.json")


def test_greedy_when_nothing_is_said() -> None:
    assert resolve_options({}, {}) == GenerationOptions(temperature=0, top_k=0, top_p=1, min_p=0, repetition_penalty=1)


def test_the_file_is_ignored_unless_it_asks_for_sampling() -> None:
    options = resolve_options(defaults('{"do_sample": false, "temperature": 0.6, "top_k": 50, "eos_token_id": 2}'), {})
    assert options == GenerationOptions()


def test_the_file_asks_for_sampling() -> None:
    text = '{"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "min_p": null}'
    assert resolve_options(defaults(text), {}) == GenerationOptions(temperature=0.6, top_k=20, top_p=0.95)
    assert resolve_options(defaults('{"do_sample": true}'), {}) == GenerationOptions(temperature=1)


def test_a_penalty_holds_for_greedy_too() -> None:
    assert resolve_options(defaults('{"repetition_penalty": 1.1}'), {}) == GenerationOptions(repetition_penalty=1.1)


def test_arguments_override_the_file() -> None:
    file = defaults('{"do_sample": true, "temperature": 0.6, "top_k": 20}')
    assert resolve_options(file, {"temperature": 0}).temperature == 0
    assert resolve_options(file, {"top_k": 5, "top_p": None}) == GenerationOptions(temperature=0.6, top_k=5)


@pytest.mark.parametrize("argument", [{"top_k": 5}, {"top_p": 0.9}, {"min_p": 0.1}])
def test_a_filter_asks_for_sampling(argument: Any) -> None:
    assert resolve_options({}, argument).temperature == 1
    assert resolve_options({}, {**argument, "temperature": 0}).temperature == 0


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
    ],
)
def test_refusals(arguments: Any, message: str) -> None:
    with pytest.raises(GenerationError) as caught:
        resolve_options({}, arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("{", "Invalid JSON"),
        ('{"do_sample": true, "top_p": 7}', "top_p"),
        ('{"temperature": "hot"}', "temperature"),
        ("[]", r"\[\]: must be a table"),
    ],
)
def test_a_file_that_breaks_the_rules(text: str, finding: str) -> None:
    with pytest.raises(ArtifactError, match=finding):
        defaults(text)
