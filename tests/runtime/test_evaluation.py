"""Scores of models: against sums by hand, in pieces of any size, and for rows that do not fit."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from graphwright.runtime import evaluation, load
from graphwright.runtime.errors import DataError
from graphwright.runtime.evaluation import Evaluation, RuntimeLanguageModel, Score, score
from graphwright.runtime.token_rows import Stream, cut_rows, read_stream, start_token
from graphwright.runtime.tokenizer import Tokenizer
from tests.runtime import tokenizer_files
from tests.runtime.program import TinyDecoder, write_artifact

ROWS = np.random.default_rng(3).integers(0, 40, (5, 20))


@pytest.fixture
def tiny(tmp_path: Path) -> RuntimeLanguageModel:
    return RuntimeLanguageModel(load(write_artifact(tmp_path / "artifact", TinyDecoder()), threads=1))


@pytest.fixture
def other(tmp_path: Path) -> RuntimeLanguageModel:
    return RuntimeLanguageModel(load(write_artifact(tmp_path / "other", TinyDecoder(seed=1)), threads=1))


def log_softmax(seed: int, row: list[int]) -> np.ndarray:
    logits = TinyDecoder(seed=seed).logits(row).astype(np.float64)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


# All rows at once; one row; a row in pieces of three and of one position.
@pytest.mark.parametrize("numbers", [1 << 24, 40 * 20, 40 * 3, 1])
def test_a_score_is_the_mean_over_all_tokens(
    tiny: RuntimeLanguageModel, other: RuntimeLanguageModel, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "NUMBERS_AT_ONCE", numbers)
    found = score(tiny, ROWS, other)
    p, q = (np.stack([log_softmax(seed, row) for row in ROWS.tolist()]) for seed in (1, 0))
    nats = -np.mean([q[row, place, ROWS[row, place + 1]] for row in range(5) for place in range(19)])
    # Logits of float32 are within 1e-5 of the reference's; so are means of their logarithms.
    assert found.nats == pytest.approx(nats, abs=1e-4)
    assert found.kl == pytest.approx((np.exp(p) * (p - q)).sum(-1).mean(), abs=1e-4)
    assert found.agreement == (p.argmax(-1) == q.argmax(-1)).mean()
    assert found.tokens == 95
    assert found.perplexity == pytest.approx(np.exp(nats), rel=1e-3)


def test_a_model_is_no_distance_from_itself(tiny: RuntimeLanguageModel) -> None:
    found = score(tiny, ROWS, tiny)
    assert (found.kl, found.agreement) == (0.0, 1.0)
    alone = score(tiny, ROWS)
    assert (alone.kl, alone.agreement, alone.nats) == (None, None, found.nats)


def test_rows_must_fit_the_context_and_vocabularies_agree(tiny: RuntimeLanguageModel, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="rows of 33 tokens exceed the model's context of 32"):
        score(tiny, np.zeros((1, 33), dtype=np.int64))
    larger = RuntimeLanguageModel(load(write_artifact(tmp_path / "larger", TinyDecoder(vocabulary_size=41)), threads=1))
    with pytest.raises(DataError, match="different vocabularies, of 40 and 41 tokens"):
        score(tiny, ROWS, larger)


def test_perplexity_of_a_byte() -> None:
    found = Evaluation(Score(1, 3, np.log(16.0)), bytes_per_token=4.0)
    assert found.perplexity == pytest.approx(16)
    assert found.byte_perplexity == pytest.approx(2)
    assert Evaluation(found.score, None).byte_perplexity is None


def test_a_stream_is_cut_into_rows() -> None:
    stream = Stream(np.arange(10), "it")
    assert cut_rows(stream, length=3, rows=None, exact=True).tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    # Evenly spread, the first piece among them; with a start token that counts.
    assert cut_rows(stream, length=2, rows=2, exact=True).tolist() == [[0, 1], [4, 5]]
    assert cut_rows(stream, length=4, rows=None, exact=True, start=7).tolist() == [
        [7, 0, 1, 2],
        [7, 3, 4, 5],
        [7, 6, 7, 8],
    ]
    assert cut_rows(stream, length=64, rows=None, exact=False).tolist() == [list(range(10))]
    array = Stream(np.arange(10).reshape(2, 5), "it")
    assert cut_rows(array, length=3, rows=1, exact=True).tolist() == [[0, 1, 2]]
    assert cut_rows(array, length=8, rows=None, exact=False).shape == (2, 5)


def test_too_little_is_refused() -> None:
    stream = Stream(np.arange(10), "it")
    with pytest.raises(DataError, match="it has 10 tokens, too few for a row of 11: give more, or a smaller length"):
        cut_rows(stream, length=11, rows=None, exact=True)
    with pytest.raises(DataError, match="it has 1 tokens, too few for a row of 8"):
        cut_rows(Stream(np.arange(1), "it"), length=8, rows=None, exact=False)
    with pytest.raises(DataError, match="rows of 1 tokens predict nothing"):
        cut_rows(stream, length=1, rows=None, exact=False)


def test_texts_and_arrays_are_read(tmp_path: Path) -> None:
    tokenizer = Tokenizer(tokenizer_files.byte_level(), "tokenizer.json")
    text, array = tmp_path / "a.txt", tmp_path / "a.npy"
    text.write_text("hello, wörld", encoding="utf-8")
    found = read_stream(text, tokenizer, 1000)
    assert found.ids.tolist() == tokenizer.encode("hello, wörld", special_tokens=False)
    assert found.bytes_per_token == pytest.approx(13 / len(found.ids))
    np.save(array, np.array([[1, 2]], dtype=np.uint16))
    assert read_stream(str(array), None, 10).ids.tolist() == [[1, 2]]
    assert read_stream(np.array([3, 4]), None, 10).ids.tolist() == [3, 4]


def test_what_holds_no_tokens_is_refused(tmp_path: Path) -> None:
    tokenizer = Tokenizer(tokenizer_files.byte_level(), "tokenizer.json")
    text, array = tmp_path / "a.txt", tmp_path / "a.npy"
    text.write_bytes(b"\xff\xfe")
    array.write_bytes(b"no array")
    for path, message in (
        (tmp_path / "none.txt", "none.txt cannot be read: No such file"),
        (text, "a.txt is not UTF-8 text; token ids are given as a .npy file"),
        (array, "a.npy cannot be read as an array of token ids"),
    ):
        with pytest.raises(DataError, match=message):
            read_stream(path, tokenizer, 1000)
    text.write_text("")
    with pytest.raises(DataError, match=r"a\.txt holds no text"):
        read_stream(text, tokenizer, 1000)
    with pytest.raises(DataError, match=r"a\.txt is a text, and the model has no tokenizer\.json"):
        read_stream(text, None, 1000)
    arrays: list[tuple[npt.NDArray[Any], str]] = [
        (np.array([1, 10]), r"holds the token id 10, outside the vocabulary \(0 to 9\)"),
        (np.array([-1]), "holds the token id -1"),
        (np.zeros(3), r"holds float64\[3\]; it must be token ids"),
        (np.zeros((0, 2), dtype=np.int64), "holds int64"),
    ]
    for wrong, message in arrays:
        with pytest.raises(DataError, match=message):
            read_stream(wrong, None, 10)


def test_a_start_token_is_one_that_the_tokenizer_adds() -> None:
    tokenizer = Tokenizer(tokenizer_files.byte_level(), "tokenizer.json")
    added = tokenizer.encode("", special_tokens=True)
    assert start_token(tokenizer, tuple(added)) == (added[0] if added else None)
    assert start_token(tokenizer, (999,)) is None
    assert start_token(None, (1,)) is None
