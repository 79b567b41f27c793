"""Generation end to end: against the reference, alone and in batches, and everything that is refused."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from graphwright.runtime import ContextError, GenerationError, Model, load
from tests.runtime import tokenizer_files
from tests.runtime.program import TinyDecoder, write_artifact

RAGGED = [[3], [4, 5, 6, 7, 8, 9], [10, 11], [12, 13, 14]]


@pytest.fixture
def ending(tmp_path: Path, tiny: TinyDecoder) -> tuple[Model, int]:
    """A model whose end-of-sequence token is the third that it generates from [4, 5], and that token."""
    end = tiny.greedy([4, 5], 3)[-1]
    return load(write_artifact(tmp_path / "ending", tiny, eos=(end,)), threads=1), end


def test_greedy_is_the_references(model: Model, tiny: TinyDecoder) -> None:
    assert model.generate([4, 5, 6], max_new_tokens=10) == tiny.greedy([4, 5, 6], 10)


def test_a_ragged_batch_equals_its_rows_alone(model: Model, tiny: TinyDecoder) -> None:
    assert model.generate(RAGGED, max_new_tokens=12) == [tiny.greedy(row, 12) for row in RAGGED]


def test_rows_that_end_early_do_not_disturb_the_others(ending: tuple[Model, int], tiny: TinyDecoder) -> None:
    model, end = ending
    rows = [[4, 5], *RAGGED]
    completions = model.complete(rows, max_new_tokens=12)
    assert [c.token_ids for c in completions] == [tiny.greedy(row, 12, frozenset({end})) for row in rows]
    assert completions[0].finish_reason == "stop"
    assert completions[0].token_ids[-1] == end
    assert {c.finish_reason for c in completions[1:]} >= {"length"}


def test_stop_tokens_are_those_of_the_model_and_the_callers(model: Model, tiny: TinyDecoder) -> None:
    expected = tiny.greedy([4, 5], 5)
    stop = expected[2]
    (completion,) = model.complete([4, 5], max_new_tokens=5, stop_tokens=[stop])
    assert completion.token_ids == expected[: expected.index(stop) + 1]
    assert completion.finish_reason == "stop"


def test_without_a_limit_rows_fill_the_context(model: Model, tiny: TinyDecoder) -> None:
    generated = model.generate(RAGGED, max_context=14)
    assert [len(row) + len(new) for row, new in zip(RAGGED, generated, strict=True)] == [14] * len(RAGGED)
    assert generated == [tiny.greedy(row, 14 - len(row)) for row in RAGGED]
    assert len(model.generate([1, 2])) == tiny.context_length - 2


def test_log_probabilities_are_the_models_own(model: Model, tiny: TinyDecoder) -> None:
    (completion,) = model.complete([4, 5], max_new_tokens=4, logprobs=3, temperature=2.0, seed=1)
    tokens = [4, 5]
    assert completion.log_probabilities is not None
    for entry, token in zip(completion.log_probabilities, completion.token_ids, strict=True):
        logits = tiny.logits(tokens)[-1].astype(np.float64)
        expected = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
        assert entry.token_id == token
        assert entry.log_probability == pytest.approx(expected[token], abs=1e-4)
        assert [token for token, _ in entry.alternatives] == np.argsort(-expected)[:3].tolist()
        assert [value for _, value in entry.alternatives] == pytest.approx(np.sort(-expected)[:3] * -1, abs=1e-4)
        tokens.append(token)
    (plain,) = model.complete([4, 5], max_new_tokens=1)
    assert plain.log_probabilities is None
    (chosen_only,) = model.complete([4, 5], max_new_tokens=1, logprobs=0)
    assert chosen_only.log_probabilities is not None
    assert chosen_only.log_probabilities[0].alternatives == ()


def test_sampling_repeats_with_a_seed_and_rows_do_not_depend_on_neighbours(model: Model) -> None:
    options: Any = {"max_new_tokens": 8, "temperature": 1.5, "seed": 5}
    batch = model.generate([[4, 5], [6, 7, 8], [4, 5]], **options)
    assert batch == model.generate([[4, 5], [6, 7, 8], [4, 5]], **options)
    assert batch[0] == model.generate([4, 5], **options)
    assert batch[:2] == model.generate([[4, 5], [6, 7, 8]], **options)
    assert batch[2] == model.generate([[1], [2], [4, 5]], **options)[2]
    assert batch[0] != batch[2]
    assert batch[0] != model.generate([4, 5], max_new_tokens=8, temperature=1.5, seed=6)


def test_the_models_generation_config_is_the_default(tmp_path: Path, tiny: TinyDecoder) -> None:
    config = json.dumps({"do_sample": True, "temperature": 9.0})
    sampling = load(write_artifact(tmp_path / "tiny", tiny, files={"generation_config.json": config}), threads=1)
    greedy = tiny.greedy([4, 5], 8)
    assert sampling.generate([4, 5], max_new_tokens=8, seed=5) != greedy
    assert sampling.generate([4, 5], max_new_tokens=8, temperature=0) == greedy


def test_repetition_penalty_sees_prompt_and_continuation(model: Model, tiny: TinyDecoder) -> None:
    tokens = [4, 5]
    for _ in range(8):
        logits: npt.NDArray[np.float32] = tiny.logits(tokens)[-1]
        seen = np.isin(np.arange(logits.size), tokens)
        penalized = np.where(logits > 0, logits / 3, logits * 3)
        tokens.append(int(np.where(seen, penalized, logits).argmax()))
    assert model.generate([4, 5], max_new_tokens=8, repetition_penalty=3.0) == tokens[2:]


def test_numpy_prompts(model: Model, tiny: TinyDecoder) -> None:
    expected = tiny.greedy([4, 5], 3)
    # Taken, though the declared types say lists alone: the type of an array does not say how many axes it has.
    prompts: list[tuple[Any, object]] = [
        (np.array([4, 5]), expected),
        (np.array([[4, 5]]), [expected]),
        ([np.int64(4), np.int64(5)], expected),
    ]
    for prompt, answer in prompts:
        assert model.generate(prompt, max_new_tokens=3) == answer


def test_an_empty_prompt_starts_from_bos(model: Model, tiny: TinyDecoder) -> None:
    assert model.generate([[]], max_new_tokens=3) == [tiny.greedy([1], 3)]


def test_an_empty_prompt_without_bos(tmp_path: Path, tiny: TinyDecoder) -> None:
    model = load(write_artifact(tmp_path / "tiny", tiny, bos=()))
    with pytest.raises(GenerationError, match="prompt 1 is empty and the model has no BOS"):
        model.generate([[3], []])


@pytest.mark.parametrize(
    ("prompts", "options", "error", "message"),
    [
        ([], {}, GenerationError, "there are no prompts"),
        ([[1], [2, 40]], {}, GenerationError, "prompt 1 holds the token id 40 at position 1, outside the vocabulary"),
        ([-1], {}, GenerationError, r"the prompt holds the token id -1 at position 0, .* \(0 to 39\)"),
        ([[1, "a"]], {}, GenerationError, "the prompt holds 'a' at position 1; token ids are integers"),
        ([[True]], {}, GenerationError, "holds True at position 0"),
        ([1, "a"], {}, GenerationError, "prompt 0 is a text or a list of token ids, not int"),
        (5, {}, GenerationError, "a prompt is a text or a list of token ids, not int"),
        ("text", {}, GenerationError, "the prompt is a text, but the artifact has no tokenizer"),
        ([1], {"stop_strings": "x"}, GenerationError, "stop_strings need text"),
        ([1], {"stream": print}, GenerationError, "streaming needs text"),
        ([[1], [2]], {"stream": print}, GenerationError, "stream takes the text of a single prompt"),
        ([1], {"logprobs": 41}, GenerationError, "logprobs is 41; the vocabulary has 40 tokens"),
        ([1], {"stop_tokens": [40]}, GenerationError, "stop_tokens holds the token id 40"),
        ([1], {"temperature": -1}, GenerationError, "temperature is -1: must be at least 0"),
        ([1], {"max_context": 33}, ContextError, "a context of 33 tokens is not in 1 to 32"),
        ([1], {"max_context": 0}, ContextError, "a context of 0 tokens"),
        ([1] * 32, {}, ContextError, "the prompt has 32 tokens and leaves no room in the context of 32"),
        ([1] * 99, {"max_new_tokens": 1}, ContextError, "the prompt has 99 tokens and leaves no room"),
        (
            [[1], [1] * 30],
            {"max_new_tokens": 3},
            ContextError,
            "prompt 1 has 30 tokens; with max_new_tokens=3 it exceeds",
        ),
        ([1] * 5, {"max_new_tokens": 4, "max_context": 8}, ContextError, "exceeds the context of 8"),
    ],
)
def test_refusals_before_any_work(
    model: Model, prompts: Any, options: Any, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphwright.runtime.model.KVCache", None)
    with pytest.raises(error, match=message) as caught:
        model.generate(prompts, **options)
    assert "\n" not in str(caught.value)


def test_prompt_and_continuation_may_fill_the_context_exactly(model: Model, tiny: TinyDecoder) -> None:
    assert model.generate([1] * 29, max_new_tokens=3) == tiny.greedy([1] * 29, 3)
    assert model.generate([1] * 31) == tiny.greedy([1] * 31, 1)


def test_logits_of_a_batch(model: Model, tiny: TinyDecoder) -> None:
    rows = [[1, 2, 3], [4, 5, 6]]
    logits = model.logits(rows)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, np.stack([tiny.logits(row) for row in rows]), atol=5e-5)
    assert model.logits([1] * 32).shape == (1, 32, 40)
    with pytest.raises(GenerationError, match=r"equal length, not \[1, 2\]"):
        model.logits([[1], [2, 3]])
    with pytest.raises(ContextError, match="33 tokens"):
        model.logits([1] * 33)


class CancelAfter:
    """Asks to stop when it has been asked `steps` times."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def is_set(self) -> bool:
        self.steps -= 1
        return self.steps < 0


def test_cancelling_returns_what_there_is(model: Model, tiny: TinyDecoder) -> None:
    completions = model.complete(RAGGED, max_new_tokens=10, cancel=CancelAfter(3))
    assert [c.token_ids for c in completions] == [tiny.greedy(row, 3) for row in RAGGED]
    assert {c.finish_reason for c in completions} == {"cancelled"}
    event = threading.Event()
    event.set()
    assert model.generate([1], cancel=event) == []


def test_text_in_text_out(text_model: Model) -> None:
    tokenizer = text_model.tokenizer
    assert tokenizer is not None
    prompt = "hello wo"
    tokens = tokenizer.encode(prompt, special_tokens=True)
    new = text_model.generate(tokens, max_new_tokens=20)
    text = text_model.generate(prompt, max_new_tokens=20)
    assert text == tokenizer.decode(tokens + new)[len(tokenizer.decode(tokens)) :]
    assert text_model.generate([prompt, "he"], max_new_tokens=20)[0] == text
    assert text_model.generate("", max_new_tokens=5) == text_model.generate([""], max_new_tokens=5)[0]


def test_streaming_is_the_text_in_pieces(text_model: Model) -> None:
    text = text_model.generate("hello", max_new_tokens=30, temperature=1.5, seed=2)
    pieces: list[str] = []
    again = text_model.generate("hello", max_new_tokens=30, temperature=1.5, seed=2, stream=pieces.append)
    assert again == text == "".join(pieces)
    assert len(pieces) > 1
    assert "" not in pieces
    stream = text_model.stream("hello", max_new_tokens=30, temperature=1.5, seed=2)
    yielded: list[str] = []
    while True:
        try:
            yielded.append(next(stream))
        except StopIteration as end:
            completion = end.value
            break
    assert yielded == pieces
    assert completion.text == text
    assert completion.finish_reason == "length"


def test_stream_refuses_at_the_call(text_model: Model, model: Model) -> None:
    with pytest.raises(ContextError):
        text_model.stream("hello", max_new_tokens=1000)
    with pytest.raises(GenerationError, match="single prompt"):
        text_model.stream(["hello"])  # pyright: ignore[reportArgumentType] - a batch, which is what is refused
    with pytest.raises(GenerationError, match="no tokenizer"):
        model.stream([1])


def test_stop_strings_cut_the_text(text_model: Model) -> None:
    (whole,) = text_model.complete("hello", max_new_tokens=30, temperature=1.5, seed=2)
    assert whole.text is not None
    stop = whole.text[4:6]
    pieces: list[str] = []
    (cut,) = text_model.complete("hello", max_new_tokens=30, temperature=1.5, seed=2, stop_strings=[stop])
    text_model.generate("hello", max_new_tokens=30, temperature=1.5, seed=2, stop_strings=stop, stream=pieces.append)
    assert cut.finish_reason == "stop_string"
    assert cut.text == whole.text[: whole.text.index(stop)] == "".join(pieces)
    assert cut.token_ids == whole.token_ids[: len(cut.token_ids)]
    assert len(cut.token_ids) < len(whole.token_ids)


def test_the_end_token_is_not_part_of_the_text(text_model: Model) -> None:
    (whole,) = text_model.complete("hello", max_new_tokens=8)
    stop = whole.token_ids[-1]
    (ended,) = text_model.complete("hello", max_new_tokens=8, stop_tokens=[stop])
    kept = whole.token_ids[: whole.token_ids.index(stop)]
    assert ended.token_ids == [*kept, stop]
    expected = text_model.complete("hello", max_new_tokens=max(len(kept), 1))[0].text if kept else ""
    assert ended.text == expected


def test_threads_share_one_model(text_model: Model) -> None:
    prompts = ["hello", "wo", "hell", "he wo", "", "l"]
    expected = [text_model.generate(prompt, max_new_tokens=30) for prompt in prompts]
    found: dict[int, list[str]] = {}

    def work(worker: int) -> None:
        found[worker] = [text_model.generate(prompt, max_new_tokens=30) for prompt in prompts]

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(4), expected)


def test_a_model_may_know_more_ids_than_its_tokenizer(tmp_path: Path) -> None:
    text = tokenizer_files.byte_level()
    tiny = TinyDecoder(vocabulary_size=tokenizer_files.size(text) + 200, context_length=40)
    model = load(write_artifact(tmp_path / "tiny", tiny, files={"tokenizer.json": text}), threads=1)
    (completion,) = model.complete([5], max_new_tokens=30, temperature=10.0, seed=0)
    assert model.tokenizer is not None
    assert max(completion.token_ids) >= tokenizer_files.size(text)
    assert completion.text == model.tokenizer.decode([5, *completion.token_ids])[1:]
