"""Reading `generation_config.json`: defaults, and what is refused with the file's name."""

import json
from typing import Any

import pytest

from graphwright.runtime import ArtifactError, GenerationError, GenerationOptions
from graphwright.runtime.options import resolve_options
from graphwright.runtime.settings import ModelSettings, SpeechSettings, read_settings


def read(**settings: Any) -> ModelSettings:
    return read_settings(json.dumps(settings), "folder/generation_config.json")


def options(**settings: Any) -> GenerationOptions:
    return resolve_options(read(**settings).defaults, {})


def test_sampling_is_left_out_unless_it_is_asked_for() -> None:
    assert options(do_sample=False, temperature=0.6, top_k=50, eos_token_id=2) == GenerationOptions()
    assert options(temperature=0.6, top_p=0.5) == GenerationOptions()


def test_what_the_file_leaves_out_of_sampling_is_what_transformers_takes() -> None:
    assert options(do_sample=True) == GenerationOptions(temperature=1, top_k=50)
    assert options(do_sample=True, top_k=None, temperature=0.6) == GenerationOptions(temperature=0.6, top_k=50)
    found = options(do_sample=True, temperature=0.6, top_k=20, top_p=0.95, min_p=None, typical_p=0.9, top_h=0.5)
    assert found == GenerationOptions(temperature=0.6, top_k=20, top_p=0.95, typical_p=0.9, top_h=0.5)
    assert options(do_sample=True, top_k=0) == GenerationOptions(temperature=1)


@pytest.mark.parametrize(
    ("file", "call", "expected"),
    [
        ({"temperature": 0.6, "top_p": 0.9, "top_k": 20}, {"temperature": 0.8}, (0.8, 0.9, 20)),
        ({"temperature": 0.6, "top_p": 0.9, "top_k": 20}, {"top_k": 7}, (0.6, 0.9, 7)),
        ({"temperature": 0.6, "top_p": 0.9, "top_k": 20}, {"temperature": 0.0}, (0.0, 1.0, 0)),
        ({"do_sample": False}, {"temperature": 0.8}, (0.8, 1.0, 50)),
        ({"do_sample": False, "temperature": 0.0}, {"top_p": 0.5}, (1.0, 0.5, 50)),
        ({"do_sample": True, "top_k": 20}, {"temperature": 0.8}, (0.8, 1.0, 20)),
    ],
)
def test_filters_of_a_greedy_file_hold_where_a_call_samples(
    file: dict[str, Any], call: Any, expected: tuple[float, float, int]
) -> None:
    """As in transformers' `generate(do_sample=True, ...)`, which takes 50 for a top_k that nobody names."""
    settings = read(**file)
    found = resolve_options(settings.defaults, call, settings.sampling)
    assert (found.temperature, found.top_p, found.top_k) == expected


def test_a_filter_of_a_greedy_file_out_of_range_is_refused_where_a_call_samples() -> None:
    settings = read(top_p=7)
    assert resolve_options(settings.defaults, {}, settings.sampling) == GenerationOptions()
    assert resolve_options(settings.defaults, {"top_p": 0.5}, settings.sampling).top_p == 0.5
    with pytest.raises(GenerationError, match=r"top_p is 7: must be above 0 and at most 1"):
        resolve_options(settings.defaults, {"temperature": 0.8}, settings.sampling)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ({}, (8, 0)),
        ({"min_length": 3}, (None, 3)),
        ({"min_new_tokens": 2}, (2, 0)),
        ({"min_length": 3, "min_new_tokens": 2}, (2, 3)),
    ],
)
def test_a_length_of_the_call_stands_over_the_files(call: Any, expected: tuple[int | None, int]) -> None:
    found = resolve_options(read(min_new_tokens=8).defaults, call)
    assert (found.min_new_tokens, found.min_length) == expected


def test_other_options_hold_for_greedy_too() -> None:
    found = options(repetition_penalty=1.1, no_repeat_ngram_size=3, suppress_tokens=[4], bad_words_ids=[[5, 6]])
    assert found == GenerationOptions(
        repetition_penalty=1.1, no_repeat_ngram_size=3, suppress_tokens=(4,), bad_words_ids=((5, 6),)
    )
    assert options(forced_eos_token_id=2, sequence_bias=[[[1, 2], 0.5]]) == GenerationOptions(
        forced_eos_token_id=(2,), sequence_bias=(((1, 2), 0.5),)
    )


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("{", "Invalid JSON"),
        ("[" * 100_000, "Invalid JSON"),
        ("[]", r"\[\]: must be a table"),
        ('{"do_sample": true, "top_p": 7}', "top_p is 7: must be above 0 and at most 1"),
        ('{"temperature": "hot"}', "temperature is 'hot': must be a number"),
        ('{"no_repeat_ngram_size": -1}', "no_repeat_ngram_size is -1: must be at least 0"),
        ('{"max_new_tokens": 0}', "max_new_tokens is 0: must be at least 1"),
        ('{"max_length": "long"}', "max_length is 'long': must be an integer"),
        ('{"suppress_tokens": 5}', "suppress_tokens is 5: must be a list"),
        ('{"bad_words_ids": [5]}', "bad_words_ids.0 is 5: must be a list"),
        ('{"bad_words_ids": [[]]}', "bad_words_ids.0 is not valid: Tuple should have at least 1 item"),
        ('{"sequence_bias": {"(1, 2)": 0.5}}', "sequence_bias.0.0 is '.1, 2.': must be a list"),
        ('{"exponential_decay_length_penalty": [5]}', "exponential_decay_length_penalty.1 is missing"),
        ('{"forced_bos_token_id": 5, "suppress_tokens": [5]}', "every token of forced_bos_token_id"),
        ('{"guidance_scale": 3}', "guidance_scale is 3: guidance needs"),
        ('{"forced_decoder_ids": [[2, 5]]}', "the positions in forced_decoder_ids must be 1, 2, 3"),
        ('{"lang_to_id": {"<|en|>": 5}, "language": "de"}', "language is 'de'; the model knows en"),
    ],
)
def test_a_file_that_breaks_the_rules(text: str, finding: str) -> None:
    with pytest.raises(ArtifactError, match=rf"^folder/generation_config\.json: {finding}") as caught:
        read_settings(text, "folder/generation_config.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"suppress_tokens": [1, 10]}, "suppress_tokens"),
        ({"begin_suppress_tokens": [10]}, "begin_suppress_tokens"),
        ({"bad_words_ids": [[1, 10]]}, "bad_words_ids"),
        ({"sequence_bias": [[[10], 1.0]]}, "sequence_bias"),
        ({"forced_bos_token_id": 10}, "forced_bos_token_id"),
        ({"forced_eos_token_id": [1, 10]}, "forced_eos_token_id"),
        ({"forced_decoder_ids": [[1, 10]]}, "forced_decoder_ids"),
        ({"lang_to_id": {"<|en|>": 10}}, "lang_to_id"),
        ({"task_to_id": {"transcribe": 10}}, "task_to_id"),
        ({"no_timestamps_token_id": 10}, "no_timestamps_token_id"),
    ],
)
def test_tokens_outside_the_vocabulary(settings: dict[str, Any], name: str) -> None:
    found = read(**settings)
    found.check_vocabulary(11)
    with pytest.raises(ArtifactError, match=rf"{name} holds the token id 10, outside the vocabulary \(0 to 9\)"):
        found.check_vocabulary(10)


SPEECH = SpeechSettings(
    lang_to_id={"<|en|>": 2, "<|de|>": 3},
    task_to_id={"translate": 4, "transcribe": 5},
    no_timestamps_token_id=6,
    forced_decoder_ids=((1, None), (2, 5)),
    is_multilingual=True,
)


def test_a_model_of_speech_is_greedy_whatever_its_file_says() -> None:
    found = read(lang_to_id={"<|en|>": 2}, do_sample=True, temperature=0.4, language="en")
    assert resolve_options(found.defaults, {}) == GenerationOptions(language="en")


@pytest.mark.parametrize(
    ("change", "language", "task", "tokens", "languages"),
    [
        ({}, None, None, (1, 2, 5, 6), (2, 3)),
        ({}, "german", None, (1, 3, 5, 6), ()),
        ({}, "<|en|>", "translate", (1, 2, 4, 6), ()),
        ({}, None, "translate", (1, 2, 4, 6), (2, 3)),
        ({"forced_decoder_ids": None}, None, None, (1, 2, 6), (2, 3)),
        ({"forced_decoder_ids": ((1, 3), (2, 5))}, None, None, (1, 3, 5, 6), ()),
        ({"forced_decoder_ids": ((1, 3), (2, 5), (3, 6))}, None, None, (1, 3, 5, 6), ()),
        ({"forced_decoder_ids": None, "lang_to_id": None, "is_multilingual": False}, None, None, (1, 6), ()),
        ({"no_timestamps_token_id": None}, "de", None, (1, 3, 5), ()),
    ],
)
def test_what_a_transcription_begins_with(
    change: dict[str, Any],
    language: str | None,
    task: str | None,
    tokens: tuple[int, ...],
    languages: tuple[int, ...],
) -> None:
    found = SPEECH.model_copy(update=change).beginning(1, language, task)
    assert (found.tokens, found.languages) == (tokens, languages)


@pytest.mark.parametrize(
    ("change", "language", "task", "message"),
    [
        ({"is_multilingual": False}, "en", None, "the model knows English alone"),
        ({}, "klingon", None, "language is 'klingon'; the model knows en, de"),
        ({"lang_to_id": None}, "en", None, "language is 'en'; the model knows none"),
        ({}, "en", "sing", "task is 'sing'; the model knows transcribe and translate"),
        ({"task_to_id": None}, "en", "translate", "task is 'translate'; the model knows none"),
    ],
)
def test_languages_and_tasks_that_the_model_lacks(
    change: dict[str, Any], language: str | None, task: str | None, message: str
) -> None:
    with pytest.raises(GenerationError, match=message):
        SPEECH.model_copy(update=change).beginning(1, language, task)
