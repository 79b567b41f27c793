"""Streaming: the pieces are exactly the whole decoding, and none of them is ever half a character."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from graphwright.runtime import ArtifactError
from graphwright.runtime.streaming import IncrementalDecoder, StopStrings
from graphwright.runtime.tokenizer import Tokenizer
from tests.runtime import tokenizer_files

BYTE_LEVEL = Tokenizer(tokenizer_files.byte_level(), "byte level")
BYTE_FALLBACK = Tokenizer(tokenizer_files.byte_fallback(), "byte fallback")
STORIES = Path(__file__).parents[3] / "shared" / "models" / "stories260k"

TEXTS = st.text(st.one_of(st.sampled_from(" hello w."), st.sampled_from("é€漢😀\ufffd"), st.characters(codec="utf-8")))


def stream(tokenizer: Tokenizer, context: list[int], new: list[int]) -> list[str]:
    decoder = IncrementalDecoder(tokenizer, context)
    return [*(decoder.push(token) for token in new), decoder.finish()]


def common(first: str, second: str) -> int:
    return next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def added(tokenizer: Tokenizer, context: list[int], new: list[int]) -> str:
    """What `new` adds to the text, by decoding everything at once."""
    before, whole = tokenizer.decode(context), tokenizer.decode(context + new)
    return whole[common(before, whole) :]


def vocabulary(text: str) -> st.SearchStrategy[list[int]]:
    # One id past the end: models are often padded to more ids than their tokenizer knows.
    return st.lists(st.integers(0, tokenizer_files.size(text)), max_size=30)


@pytest.mark.parametrize("tokenizer", [BYTE_LEVEL, BYTE_FALLBACK], ids=["byte_level", "byte_fallback"])
@given(TEXTS, st.data())
def test_any_text_split_anywhere(tokenizer: Tokenizer, text: str, data: st.DataObject) -> None:
    tokens = tokenizer.encode(text, special_tokens=False)
    split = data.draw(st.integers(0, len(tokens)))
    pieces = stream(tokenizer, tokens[:split], tokens[split:])
    assert "".join(pieces) == added(tokenizer, tokens[:split], tokens[split:])


@given(vocabulary(tokenizer_files.byte_level()), vocabulary(tokenizer_files.byte_level()))
def test_any_tokens_byte_level(context: list[int], new: list[int]) -> None:
    assert "".join(stream(BYTE_LEVEL, context, new)) == added(BYTE_LEVEL, context, new)


@given(vocabulary(tokenizer_files.byte_fallback()), vocabulary(tokenizer_files.byte_fallback()))
@example([], [259, 259, 4])
@example([259], [259, 259, 4])
@example([1], [1, 259, 1, 4])
@example([3 + 0xE2], [3 + 0x82, 1, 3 + 0xAC, 280])
def test_any_tokens_byte_fallback(context: list[int], new: list[int]) -> None:
    assert "".join(stream(BYTE_FALLBACK, context, new)) == added(BYTE_FALLBACK, context, new)


@pytest.mark.parametrize("tokenizer", [BYTE_LEVEL, BYTE_FALLBACK], ids=["byte_level", "byte_fallback"])
@given(st.text(st.sampled_from(" heé€漢😀"), min_size=1))
def test_no_piece_ever_holds_half_a_character(tokenizer: Tokenizer, text: str) -> None:
    pieces = stream(tokenizer, [], tokenizer.encode(text, special_tokens=False))
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_text_comes_as_early_as_it_can() -> None:
    tokens = BYTE_LEVEL.encode("hello wo€!", special_tokens=False)
    assert stream(BYTE_LEVEL, [], tokens) == ["hello", " wo", "", "€", "!", ""]


def test_a_leading_space_is_stripped_at_the_start_of_the_text_only() -> None:
    hello = BYTE_FALLBACK.encode("hello", special_tokens=False)
    assert stream(BYTE_FALLBACK, [], hello) == ["hello", ""]
    assert stream(BYTE_FALLBACK, [1], hello) == ["hello", ""]
    assert stream(BYTE_FALLBACK, hello, hello) == [" hello", ""]
    assert stream(BYTE_FALLBACK, [], [*hello, 1, *hello]) == ["hello", "", " hello", ""]


def test_a_character_that_never_ends_is_replaced_at_the_end() -> None:
    euro = BYTE_LEVEL.encode("€", special_tokens=False)
    assert stream(BYTE_LEVEL, [], euro[:-1]) == ["", "\ufffd"]
    euro = BYTE_FALLBACK.encode("€", special_tokens=False)
    assert stream(BYTE_FALLBACK, [], euro[1:-1]) == ["", "", "\ufffd\ufffd"]


def test_a_character_begun_by_the_prompt_is_completed() -> None:
    euro = BYTE_LEVEL.encode("€", special_tokens=False)
    assert stream(BYTE_LEVEL, euro[:-1], euro[-1:]) == ["€", ""]


def test_special_tokens_are_silent() -> None:
    assert stream(BYTE_LEVEL, [], [1, 2]) == ["", "", ""]


def test_cost_does_not_grow_with_the_text() -> None:
    decoded: list[int] = []

    class Counting(Tokenizer):
        def decode(self, token_ids: Sequence[int]) -> str:
            decoded.append(len(token_ids))
            return super().decode(token_ids)

    tokenizer = Counting(tokenizer_files.byte_level(), "counting")
    stream(tokenizer, [], BYTE_LEVEL.encode("hello wo" * 200, special_tokens=False))
    assert max(decoded) <= 3


def test_a_published_models_tokenizer() -> None:
    if not STORIES.exists():
        pytest.skip("the shared model stories260k is not here")
    tokenizer = Tokenizer((STORIES / "tokenizer.json").read_text(), "stories260k")
    text = (STORIES / "EXPECTED.txt").read_text().rstrip("\n")
    tokens = tokenizer.encode(text, special_tokens=False)
    pieces = stream(tokenizer, [1], tokens)
    assert "".join(pieces) == text
    assert pieces[0] == "Once"
    assert stream(tokenizer, tokens[:10], tokens[10:]) == pieces[10:]


@pytest.mark.parametrize("text", ["", "{}", '{"version": "1.0"}', "not json"])
def test_a_file_that_is_no_tokenizer(text: str) -> None:
    with pytest.raises(ArtifactError, match=r"^tokenizer\.json is not a tokenizer: "):
        Tokenizer(text, "tokenizer.json")


def test_a_prompt_is_neither_cut_nor_padded() -> None:
    import tokenizers

    raw: Any = tokenizers.Tokenizer.from_str(tokenizer_files.byte_level())
    raw.enable_truncation(2)
    raw.enable_padding(length=8)
    assert len(Tokenizer(raw.to_str(), "t").encode("hello wo!", special_tokens=True)) == 3


@given(st.text("abc", max_size=12), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3), st.data())
def test_stop_strings_cut_at_the_first_to_be_complete(text: str, stops: list[str], data: st.DataObject) -> None:
    splits = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    parts = [text[a:b] for a, b in zip([0, *splits], [*splits, len(text)], strict=True)]
    finder = StopStrings(stops)
    out = ""
    for part in parts:
        out += finder.push(part)
        if finder.found:
            break
    else:
        out += finder.finish()
    ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    assert out == (text[: min(ends)[1]] if ends else text)
    assert finder.found == bool(ends)


def test_text_is_held_back_only_while_it_may_be_a_stop_string() -> None:
    finder = StopStrings(["\n\n", "User:"])
    assert [finder.push(piece) for piece in ("a\n", "b Us", "ed", " U", "ser", ":")] == [
        "a",
        "\nb ",
        "Used",
        " ",
        "",
        "",
    ]
    assert finder.found
