"""The table of fields against the class of transformers, and what it says of a file."""

import json
import warnings
from typing import Any

import pytest
from transformers import GenerationConfig
from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

from graphwright.runtime import GenerationOptions
from graphwright.runtime.settings import fields, read_settings
from graphwright.runtime.settings.speech import CODES, language_token

LISTS = [set(fields.HONOURED), set(fields.WITHOUT_EFFECT), set(fields.NOTICED), set(fields.REFUSED)]

WHISPER = {
    *("alignment_heads", "begin_suppress_tokens", "forced_decoder_ids", "is_multilingual", "lang_to_id", "language"),
    *(
        "max_initial_timestamp_index",
        "max_length",
        "median_filter_width",
        "no_timestamps_token_id",
        "prev_sot_token_id",
    ),
    *("return_timestamps", "suppress_tokens", "task", "task_to_id", "condition_on_prev_tokens", "logprob_threshold"),
    *("compression_ratio_threshold", "no_speech_threshold", "prompt_condition_type"),
}
"""What generation_config.json of the published Whisper models holds, and what its `generate` reads beside."""


def test_every_field_of_transformers_is_in_one_list() -> None:
    known = set(vars(GenerationConfig()))
    assert len(known) > 60
    listed = {name for names in LISTS for name in names}
    assert known <= listed
    assert listed >= WHISPER
    assert sum(map(len, LISTS)) == len(listed), "a field is in two lists"


def test_options_are_options() -> None:
    assert {*fields.OPTIONS, *fields.SPEECH_OPTIONS, *fields.SAMPLING_DEFAULTS} <= GenerationOptions.model_fields.keys()


def test_what_sampling_leaves_out_is_what_transformers_takes() -> None:
    defaults = GenerationConfig._get_default_generation_params()
    assert {name: defaults.get(name) for name in fields.SAMPLING_DEFAULTS} == dict(fields.SAMPLING_DEFAULTS)


def test_languages_are_those_of_transformers() -> None:
    assert {name.replace("_", " "): code for name, code in CODES.items()} == TO_LANGUAGE_CODE
    assert [language_token(name) for name in ("German", "de", "<|de|>", "haitian creole")] == [
        *["<|de|>"] * 3,
        "<|ht|>",
    ]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"num_beams": 4}, "num_beams is 4: one beam is followed"),
        ({"num_return_sequences": 2, "do_sample": True}, "num_return_sequences is 2: one text is returned"),
        ({"max_time": 3.5}, "max_time is 3.5: time is not limited"),
        ({"cache_implementation": "quantized"}, "cache_implementation is 'quantized': the cache is stored as"),
        ({"return_timestamps": True}, "return_timestamps is True: text is written without timestamps"),
        ({"no_speech_threshold": 0.6}, "no_speech_threshold is 0.6: silence"),
        ({"chat_format": "chatml", "user_id": 5}, "not known, and left out: chat_format, user_id"),
        ({"lang_id": {"x": "y" * 500}}, "not known, and left out: lang_id"),
        ({"language": "klingon"}, "not known, and left out: language"),
    ],
)
def test_notices(settings: dict[str, Any], says: str) -> None:
    (notice,) = read_settings(json.dumps(settings), "folder/generation_config.json").notices
    assert notice.startswith(f"folder/generation_config.json: {says}")


def test_a_plain_file_gives_no_notice() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = GenerationConfig(do_sample=True, temperature=0.7, top_k=20, eos_token_id=[1, 2], pad_token_id=0)
    given = json.loads(plain.to_json_string(use_diff=False))
    assert len(given) > 60
    assert read_settings(json.dumps(given), "f").notices == ()
    defaults = GenerationConfig._get_default_generation_params()
    assert read_settings(json.dumps(defaults), "f").notices == ()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"guidance_scale": 1.5}, "guidance_scale is 1.5: guidance needs a second pass"),
        ({"token_healing": True}, "token_healing is True"),
        ({"watermarking_config": {"bias": 2}}, "watermarking_config is {'bias': 2}: text is not watermarked"),
        ({"penalty_alpha": 0.6, "top_k": 4}, "penalty_alpha is 0.6: contrastive search"),
        ({"penalty_alpha": 0.6}, "penalty_alpha is 0.6: contrastive search"),
        ({"dola_layers": "high"}, "dola_layers is 'high'"),
        ({"constraints": [1]}, "constraints is [1]: it is a search over several beams"),
        ({"force_words_ids": [[5]]}, "force_words_ids is [[5]]: it is a search over several beams"),
    ],
)
def test_refusals(settings: dict[str, Any], says: str) -> None:
    refusal = fields.refusal(settings, "f")
    assert refusal is not None
    assert refusal.startswith(f"f: {says}")
    assert refusal.endswith("; remove it to generate without")


@pytest.mark.parametrize("other", [{"do_sample": True}, {"top_k": 1}, {"top_k": 0}])
def test_contrastive_search_is_not_asked_for(other: dict[str, Any]) -> None:
    assert fields.refusal({"penalty_alpha": 0.6, **other}, "f") is None
