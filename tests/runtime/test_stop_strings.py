"""Stop strings that name special tokens: they match, and no special token appears in the text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphwright.runtime.completion import Completion
from graphwright.runtime.generation import Row
from graphwright.runtime.options import GenerationOptions
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
        limit=len(tokens),
        options=options,
        vocabulary_size=SIZE,
        end_tokens=frozenset(end_tokens),
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


TOKENS = {token: BYTE_LEVEL.decode([token]) for token in ids(BYTE_LEVEL, "a", "b", "<", "s", ">")}


@given(
    st.lists(st.sampled_from([*TOKENS, BOS, END]), min_size=1, max_size=12),
    st.lists(
        st.text("ab<s>", min_size=1, max_size=3) | st.sampled_from(["a<s>", "<s>b", "</s>", "<s></s>"]), max_size=3
    ),
)
def test_the_first_stop_string_to_be_complete_cuts(tokens: list[int], stops: list[str]) -> None:
    expected = None
    for count in range(1, len(tokens) + 1):
        shown = "".join(TOKENS.get(token, "") for token in tokens[:count])
        whole = "".join(TOKENS.get(token) or SPECIAL[token] for token in tokens[:count])
        cuts = [(shown.index(stop), stop) for stop in stops if stop in shown]
        for stop in stops:
            if stop in whole and any(name in stop for name in SPECIAL.values()):
                tail = whole[whole.index(stop) :]
                # The place in the text: how much of it stands before.
                before = next(n for n in range(count + 1) if _whole(tokens[: n + 1]) > len(whole) - len(tail))
                cuts.append((len("".join(TOKENS.get(token, "") for token in tokens[:before])), stop))
        if cuts:
            expected = shown[: min(cuts)[0]]
            break
    completion, pieces = answer(BYTE_LEVEL, tokens, tuple(stops))
    assert completion.text == "".join(pieces)
    if expected is None:
        assert completion.text == "".join(TOKENS.get(token, "") for token in tokens)
        assert completion.finish_reason == "length"
    else:
        assert completion.text == expected
        assert completion.finish_reason == "stop_string"


def _whole(tokens: list[int]) -> int:
    return len("".join(TOKENS.get(token) or SPECIAL[token] for token in tokens))
