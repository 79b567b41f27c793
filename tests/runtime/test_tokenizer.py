"""The border to the tokenizers library: its panics and its words become one line of ours."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from graphwright.runtime import ArtifactError, GenerationError, Model
from graphwright.runtime.options import GenerationOptions, resolve_options
from graphwright.runtime.tokenizer import Tokenizer
from tests.runtime import tokenizer_files

TOKENIZER = json.loads(tokenizer_files.byte_level())


def changed(**parts: Any) -> str:
    return json.dumps({**TOKENIZER, **parts})


TEMPLATE = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<x>", "type_id": 0}}], "pair": []}
PANICS: dict[str, dict[str, Any]] = {
    "a damaged table": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
    "a token that is not there": {"post_processor": {**TEMPLATE, "special_tokens": {}}},
    "pieces of no length": {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
    "nothing replaced": {"normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "x"}},
}


@pytest.mark.parametrize("parts", PANICS.values(), ids=PANICS)
def test_a_panic_is_one_line_and_prints_nothing(parts: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ArtifactError, match=r"^tokenizer\.json is not a tokenizer: ") as caught:
        Tokenizer(changed(**parts), "tokenizer.json")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_what_others_write_meanwhile_is_kept(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    import tokenizers

    def speaking(_: str) -> tokenizers.Tokenizer:
        thread = threading.Thread(target=lambda: os.write(2, b"heard\n"))
        thread.start()
        thread.join()
        return loaded

    loaded = tokenizers.Tokenizer.from_str(tokenizer_files.byte_level())
    monkeypatch.setattr("graphwright.runtime.tokenizer.tokenizers.Tokenizer.from_str", speaking, raising=False)
    Tokenizer(tokenizer_files.byte_level(), "t")
    assert capfd.readouterr().err == "heard\n"


def test_a_panic_with_some_text_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphwright.runtime.tokenizer._SAMPLE", "")
    tokenizer = Tokenizer(changed(**PANICS["pieces of no length"]), "t")
    with pytest.raises(GenerationError, match=r"^t cannot take the text: chunk size must be non-zero$"):
        tokenizer.encode("a", special_tokens=False)


def test_a_vocabulary_without_a_text_is_no_fault_of_the_file() -> None:
    model = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "<none>"}
    tokenizer = Tokenizer(changed(model=model, pre_tokenizer=None, added_tokens=[]), "t")
    assert tokenizer.encode("a", special_tokens=False) == [0]
    with pytest.raises(GenerationError, match=r"^t cannot take the text: WordLevel error: Missing \[UNK\] token"):
        tokenizer.encode("b", special_tokens=False)


def test_ids_that_are_none() -> None:
    tokenizer = Tokenizer(tokenizer_files.byte_level(), "t")
    for token in (-1, 2**40):
        with pytest.raises(GenerationError, match=r"^t cannot give the text of a token: number too"):
            tokenizer.decode([token])


HALF = "caf\udce9"
CALLS: dict[str, Callable[[Model], object]] = {
    "the prompt": lambda model: model.generate(HALF, max_new_tokens=1),
    "prompt 1": lambda model: model.generate(["a", HALF], max_new_tokens=1),
    "the text": lambda model: model.conversation().append(HALF),
}


@pytest.mark.parametrize("name", CALLS)
def test_half_characters_in_a_prompt(name: str, text_model: Model) -> None:
    with pytest.raises(GenerationError, match=rf"^{name} is not valid Unicode: it holds U\+DCE9 at position 3; give"):
        CALLS[name](text_model)


def test_half_characters_in_a_stop_string() -> None:
    assert resolve_options({}, {"stop_strings": "café"}) == GenerationOptions(stop_strings=("café",))
    with pytest.raises(GenerationError, match=r"^stop_strings\.0 .*unicode string$"):
        resolve_options({}, {"stop_strings": HALF})
