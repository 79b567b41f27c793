"""Stop strings that name special tokens: they match, and no special token appears in the text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphwright.runtime.generation import Completion, Row
from graphwright.runtime.logits import RowFacts
from graphwright.runtime.options import GenerationOptions
from graphwright.runtime.streaming import StopStrings
from graphwright.runtime.tokenizer import Tokenizer
from tests.runtime import tokenizer_files

BYTE_LEVEL = Tokenizer(tokenizer_files.byte_level(), "byte level")
BYTE_FALLBACK = Tokenizer(tokenizer_files.byte_fallback(), "byte fallback")
SIZE = max(tokenizer_files.size(text()) for text in (tokenizer_files.byte_level, tokenizer_files.byte_fallback))
BOS, END = 1, 2
SPECIAL = {0: "<unk>", BOS: "<s>", END: "</s>"}


def answer(
    tokenizer: Tokenizer, tokens: list[int], stops: tuple[str, ...], end_tokens: tuple[int, ...] = ()
) -> tuple[Completion, list[str]]:
    """What a row makes of these tokens, chosen one after another, and the pieces that it streams."""
    options = GenerationOptions(stop_strings=stops)
    row = Row(
        [BOS],
        options=options,
        facts=RowFacts(prompt_length=1, limit=len(tokens), vocabulary_size=SIZE, eos_tokens=frozenset(end_tokens)),
        tokenizer=tokenizer,
    )
    pieces: list[str] = []
    for token in tokens:
        pieces.append(row.accept(np.eye(SIZE, dtype=np.float32)[token]))
        if row.finish_reason is not None:
            break
    return row.completion(), pieces


def ids(tokenizer: Tokenizer, *parts: str) -> list[int]:
    """Every part tokenized for itself, special tokens by their name."""
    names = {name: token for token, name in SPECIAL.items()}
    # Llama's kind puts a space, one token, before each.
    space = 1 if tokenizer is BYTE_FALLBACK else 0
    encoded = ([names[p]] if p in names else tokenizer.encode(p, special_tokens=False)[space:] for p in parts)
    return [token for part in encoded for token in part]


@pytest.mark.parametrize("tokenizer", [BYTE_LEVEL, BYTE_FALLBACK], ids=["byte_level", "byte_fallback"])
@pytest.mark.parametrize(
    ("parts", "stop", "text"),
    [
        (["abc", "</s>", "w"], "</s>", "abc"),
        (["</s>", "w"], "</s>", ""),
        (["abc", "</s>", "d"], "<s>", None),
        (["a\n", "<s>", "b", "c"], "\n<s>b", "a"),
        (["a\n", "<s>", "c"], "\n<s>b", None),
        (["a\n", "<s>", "</s>", "b"], "<s></s>", "a\n"),
        (["a\n", "<s>"], "\n<s>", "a"),
        (["a\n", "<s>", "b"], "\n<s>", "a"),
        (["ab", "<s>", "cd"], "b<s>c", "a"),
        (["ab", "<s>", "cd"], "c", "ab"),
        (["a€", "<s>", "cd"], "€<s>", "a"),
        (["a", "<s>", "€", "cd"], "<s>€", "a"),
        (["ab", "<", "s", ">"], "b<s>", "a"),
        # Characters without a token of their own are held back in the second tokenizer, here around special tokens.
        (["A", "<s>", "A", "x"], "<s>A", "A"),
        (["A", "<s>", "A", "x"], "A<s>A", ""),
        (["A", "<s>", "B", "x"], "A<s>Bx", ""),
        (["A", "<s>", "<s>", "B"], "<s><s>", "A"),
        (["A", "<s>", "B", "</s>", "C", "x"], "<s>B</s>C", "A"),
        (["a", "\n", "</s>", "\n", "b"], "\n</s>\n", "a"),
        (["a", "\n", "</s>", "\n"], "\n</s>\n", "a"),
    ],
)
def test_where_the_text_ends(tokenizer: Tokenizer, parts: list[str], stop: str, text: str | None) -> None:
    tokens = ids(tokenizer, *parts)
    completion, pieces = answer(tokenizer, tokens, (stop,))
    assert completion.text == "".join(pieces) == (tokenizer.decode(tokens) if text is None else text)
    assert completion.finish_reason == ("length" if text is None else "stop_string")


def test_a_token_that_completes_a_stop_string_ends_the_row_at_once() -> None:
    # The line end is a byte token, whose text is held back until the bytes are over.
    completion, _ = answer(BYTE_FALLBACK, ids(BYTE_FALLBACK, "a\n", "<s>", "b"), ("\n<s>",))
    assert completion.token_ids[-1] == BOS
    assert completion.text == "a"


def test_an_end_token_may_complete_a_stop_string() -> None:
    tokens = ids(BYTE_LEVEL, "a\n", "</s>")
    assert answer(BYTE_LEVEL, tokens, ("\n</s>",), (END,))[0].text == "a"
    completion, _ = answer(BYTE_LEVEL, tokens, ("x</s>",), (END,))
    assert (completion.text, completion.finish_reason) == ("a\n", "stop")


def test_text_without_special_tokens_matches_across_them() -> None:
    assert answer(BYTE_LEVEL, ids(BYTE_LEVEL, "ab", "<s>", "cd"), ("bc",))[0].text == "a"


def test_a_special_token_within_a_character_stands_before_it() -> None:
    first, *others = ids(BYTE_FALLBACK, "€")
    tokens = [*ids(BYTE_FALLBACK, "a"), first, BOS, *others, *ids(BYTE_FALLBACK, "b")]
    assert answer(BYTE_FALLBACK, tokens, ("<s>€b",))[0].text == "a"
    assert answer(BYTE_FALLBACK, tokens, ("€<s>",))[0].text == "a€b"


def test_special_tokens_keep_their_places_in_text_that_is_held_back() -> None:
    finder = StopStrings(["<s>A"], ["<s>A"])
    assert [finder.push_special("<s>", "A"), finder.push(""), finder.push("AAX")] == ["", "", "A"]
    assert finder.found
    finder = StopStrings(["<s><s>"], ["<s><s>"])
    assert [finder.push_special("<s>", "A"), finder.push(""), finder.push_special("<s>", "A")] == ["", "", "A"]
    assert finder.found
    # Of what was held back, a part may come first.
    finder = StopStrings(["b<s>c"], ["b<s>c"])
    assert [finder.push_special("<s>", "ab"), finder.push("a"), finder.push("bc")] == ["", "a", ""]
    assert finder.found


NAMES = frozenset(SPECIAL.values())


@pytest.mark.parametrize("tokenizer", [BYTE_LEVEL, BYTE_FALLBACK], ids=["byte_level", "byte_fallback"])
@given(
    # "<", ">" and "€" are byte tokens of the second tokenizer, so their text is held back.
    parts=st.lists(st.sampled_from(["a", "s", "<", ">", "€", "<s>", "</s>"]), min_size=1, max_size=12),
    some=st.lists(st.text("as<>€", min_size=1, max_size=3), max_size=2),
    places=st.lists(st.tuples(st.integers(0, 11), st.integers(2, 6)), max_size=2),
)
def test_the_first_stop_string_to_be_complete_cuts(
    tokenizer: Tokenizer, parts: list[str], some: list[str], places: list[tuple[int, int]]
) -> None:
    # Stop strings by chance, and some that are there.
    starts = [(start % len(parts), length) for start, length in places]
    stops = [*some, *("".join(parts[start : start + length]) for start, length in starts)]
    completion, pieces = answer(tokenizer, ids(tokenizer, *parts), tuple(stops))
    expected = _first_cut(parts, stops)
    assert completion.text == "".join(pieces) == (_shown(parts) if expected is None else expected)
    assert completion.finish_reason == ("length" if expected is None else "stop_string")


def _first_cut(parts: list[str], stops: list[str]) -> str | None:
    """The text before the first stop string, by a plain search in the whole text so far after each part."""
    for count in range(1, len(parts) + 1):
        shown, whole = _shown(parts[:count]), "".join(parts[:count])
        cuts = [shown.index(stop) for stop in stops if stop in shown]
        for stop in stops:
            if stop in whole and any(name in stop for name in NAMES):
                # The part that it begins in, and so how much of the text stands before.
                begun = next(n for n in range(count) if len("".join(parts[: n + 1])) > whole.index(stop))
                cuts.append(len(_shown(parts[:begun])))
        if cuts:
            return shown[: min(cuts)]
    return None


def _shown(parts: list[str]) -> str:
    return "".join(part for part in parts if part not in NAMES)
