"""Whisper by its own settings: ids are those of its own `generate`, and the text that follows from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

import graphwright
from graphwright import UsageError
from graphwright.runtime import ContextError, GenerationError
from graphwright.runtime.settings import read_settings
from tests.runtime import tokenizer_files
from tests.tensors import listed, manual_seed

TOKENIZER = tokenizer_files.byte_level()
VOCABULARY = tokenizer_files.size(TOKENIZER) + 7
END = 2
START, ENGLISH, GERMAN, FRENCH, TRANSLATE, TRANSCRIBE, NO_TIMESTAMPS = range(VOCABULARY - 7, VOCABULARY)
SETTINGS: dict[str, Any] = {
    "pad_token_id": END,
    "bos_token_id": END,
    "eos_token_id": END,
    "decoder_start_token_id": START,
    "lang_to_id": {"<|en|>": ENGLISH, "<|de|>": GERMAN, "<|fr|>": FRENCH},
    "task_to_id": {"translate": TRANSLATE, "transcribe": TRANSCRIBE},
    "no_timestamps_token_id": NO_TIMESTAMPS,
    "is_multilingual": True,
    "suppress_tokens": [5, 9, *range(START, NO_TIMESTAMPS)],
    "max_length": 32,
    "max_initial_timestamp_index": 5,
    "return_timestamps": False,
    "alignment_heads": [[0, 0]],
}
"""As those of the published multilingual models, with a smaller vocabulary, which has no timestamps."""


class Speech:
    """A random Whisper, eager and compiled, whose settings are changed from test to test."""

    def __init__(self, folder: Path) -> None:
        config = WhisperConfig(
            vocab_size=VOCABULARY,
            d_model=16,
            num_mel_bins=8,
            max_source_positions=20,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=1,
            decoder_attention_heads=1,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            max_target_positions=32,
            pad_token_id=END,
            bos_token_id=END,
            eos_token_id=END,
            decoder_start_token_id=START,
            tie_word_embeddings=False,
        )
        manual_seed(0)
        self.eager: Any = WhisperForConditionalGeneration(config).eval()
        with torch.no_grad():
            for name, parameter in self.eager.named_parameters():
                # What is heard must change what is written next.
                scale = 40 if "encoder_attn" in name or (".encoder." in name and "embed" not in name) else 4
                parameter.mul_(scale if parameter.dim() > 1 else 1).add_(0.1 * torch.randn_like(parameter))
        self.eager.generation_config = GenerationConfig(**SETTINGS)
        self.folder = folder
        self.eager.save_pretrained(folder)
        (folder / "tokenizer.json").write_text(TOKENIZER, encoding="utf-8")
        self.model = graphwright.compile(folder, threads=1)

    def set(self, **changes: Any) -> None:
        """None removes a setting."""
        settings = {name: value for name, value in {**SETTINGS, **changes}.items() if value is not None}
        self.eager.generation_config = GenerationConfig(**settings)
        self.model.loaded.settings = read_settings(json.dumps(settings), "generation_config.json")

    def expected(self, rows: np.ndarray[Any, Any], **options: Any) -> list[list[int]]:
        """What its own `generate` returns of each row alone: without the beginning, and without the end."""
        out = [cast(torch.Tensor, self.eager.generate(torch.as_tensor(row)[None], **options)) for row in rows]
        return [listed(each[0]) for each in out]

    def found(self, rows: np.ndarray[Any, Any], **options: Any) -> list[list[int]]:
        completions = self.model.complete(context=rows, **options)
        return [[token for token in row.token_ids if token != END] for row in completions]


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Speech:
    return Speech(tmp_path_factory.mktemp("speech") / "whisper")


ROWS = np.random.default_rng(0).standard_normal((4, 8, 40), dtype=np.float32) * 3


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"language": "de"},
        {"language": "<|fr|>", "task": "translate"},
        {"language": "english", "task": "transcribe"},
        {"task": "translate"},
    ],
)
def test_ids_are_those_of_its_own_generate(options: dict[str, Any], speech: Speech) -> None:
    speech.set()
    expected = speech.expected(ROWS, **options)
    assert len({tuple(row) for row in expected}) == len(ROWS), "rows that do not depend on what they hear show nothing"
    assert any(len(set(row)) > 3 for row in expected)
    assert speech.found(ROWS, **options) == expected
    assert speech.found(ROWS[:1], **options) == expected[:1], "a row does not depend on its batch"


def test_the_language_that_is_heard_changes_what_is_written(speech: Speech) -> None:
    speech.set()
    told = [speech.model.generate([START, each, NO_TIMESTAMPS], context=ROWS) for each in (ENGLISH, GERMAN, FRENCH)]
    detected = [row.token_ids for row in speech.model.complete(context=ROWS)]
    heard = {next(i for i, rows in enumerate(told) if rows[index] == row) for index, row in enumerate(detected)}
    assert len(heard) > 1, "one language is heard in all rows, so that detection shows nothing"


@pytest.mark.parametrize(
    "changes",
    [
        {"forced_decoder_ids": [[1, GERMAN], [2, TRANSCRIBE]]},
        {"forced_decoder_ids": [[1, GERMAN], [2, TRANSCRIBE], [3, NO_TIMESTAMPS]]},
        {"forced_decoder_ids": [[1, None], [2, TRANSLATE]]},
        {"language": "german", "task": "translate"},
        {"language": "fr"},
        {"lang_to_id": None, "task_to_id": None, "is_multilingual": False},
        {"forced_decoder_ids": [[1, NO_TIMESTAMPS]], "lang_to_id": None, "task_to_id": None, "is_multilingual": False},
        {"begin_suppress_tokens": [7, END], "suppress_tokens": None},
        {"max_length": 6, "language": "de"},
        {"max_new_tokens": 5},
        {"do_sample": True, "temperature": 0.9},
        {"no_repeat_ngram_size": 2, "repetition_penalty": 1.4},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_its_file_is_followed(changes: dict[str, Any], speech: Speech) -> None:
    speech.set(**changes)
    assert speech.found(ROWS) == speech.expected(ROWS)


def test_what_may_not_come_first_does_not(speech: Speech) -> None:
    speech.set()
    first = [row[0] for row in speech.expected(ROWS)]
    speech.set(begin_suppress_tokens=first)
    found = speech.found(ROWS)
    assert found == speech.expected(ROWS)
    assert not {row[0] for row in found} & set(first)


def test_the_checkpoints_own_file_and_configuration_are_read(speech: Speech, tmp_path: Path) -> None:
    from graphwright.sources.generation_settings import read_generation_settings
    from graphwright.sources.models import resolve

    speech.set()
    assert graphwright.load(speech.model.folder, threads=1).complete(context=ROWS) == speech.model.complete(
        context=ROWS
    )
    config = json.loads((speech.folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "forced_decoder_ids": [[1, GERMAN]]}))
    (tmp_path / "generation_config.json").write_text(json.dumps(SETTINGS))
    found = read_generation_settings(resolve(tmp_path), tmp_path)
    assert found is not None
    assert found.text is not None
    assert json.loads(found.text) == {**SETTINGS, "forced_decoder_ids": [[1, GERMAN]]}


def test_shorter_audio_is_filled_up_and_longer_is_refused(speech: Speech) -> None:
    speech.set()
    short = np.ascontiguousarray(ROWS[:, :, :29])
    filled = np.pad(short, [(0, 0), (0, 0), (0, 11)])
    assert speech.found(short) == speech.expected(filled)
    assert speech.found(short, language="de") == speech.expected(short, language="de")
    with pytest.raises(
        GenerationError, match=r"must be float32 \[8, 40\], or a batch of them; this is float32 \[8, 41\]"
    ):
        speech.model.generate(context=np.zeros((8, 41), dtype=np.float32))


def test_text_follows_what_a_transcription_begins_with(speech: Speech) -> None:
    speech.set()
    model = speech.model
    assert model.tokenizer is not None
    hello = model.tokenizer.encode("hello", special_tokens=False)
    begin = [START, GERMAN, TRANSCRIBE, NO_TIMESTAMPS, *hello]
    (expected,) = model.complete(begin, context=ROWS[0])
    assert model.generate("hello", context=ROWS[0], language="de") == expected.text
    pieces = list(model.stream("hello", context=ROWS[0], language="de"))
    assert "".join(pieces) == expected.text
    assert model.generate("hello", context=ROWS[0]) in [
        model.complete([START, language, NO_TIMESTAMPS, *hello], context=ROWS[0])[0].text
        for language in (ENGLISH, GERMAN, FRENCH)
    ]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"language": "klingon"}, GenerationError, "language is 'klingon'; the model knows en, de, fr"),
        ({"task": "sing"}, GenerationError, "task is 'sing'; the model knows transcribe and translate"),
        ({"encoder_no_repeat_ngram_size": 2}, GenerationError, "input_features is an array: leave them out"),
        (
            {"prompts": [START, GERMAN], "language": "de"},
            GenerationError,
            "the prompt is token ids, which say language",
        ),
        ({"language": "de", "max_new_tokens": 29}, ContextError, "the prompt has 4 tokens; with max_new_tokens=29"),
    ],
)
def test_refusals_before_any_work(
    options: dict[str, Any], error: type[Exception], message: str, speech: Speech, monkeypatch: pytest.MonkeyPatch
) -> None:
    speech.set()
    monkeypatch.setattr("graphwright.runtime.request.encode", None)
    with pytest.raises(error, match=message):
        speech.model.generate(context=ROWS[0], **options)


def test_a_language_that_the_model_lacks_is_refused_at_compile_time(speech: Speech, tmp_path: Path) -> None:
    config = (speech.folder / "config.json").read_text()
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "generation_config.json").write_text(json.dumps({**SETTINGS, "language": "klingon"}))
    with pytest.raises(UsageError, match=r"generation_config\.json: language is 'klingon'; the model knows en, de, fr"):
        graphwright.compile(tmp_path)
