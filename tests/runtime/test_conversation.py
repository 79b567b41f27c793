"""Several turns over one cache: as if everything were computed afresh, but only new tokens are fed."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from graphwright.runtime import ChatTemplateError, ContextError, Conversation, Decoder, GenerationError, Model, load
from tests.runtime import tokenizer_files
from tests.runtime.program import TinyDecoder, write_artifact
from tests.runtime.test_generate import CancelAfter

TEMPLATE = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each step took."""
    steps: list[int] = []
    original = Decoder.step

    def step(self: Decoder, input_ids: np.ndarray, new_length: np.ndarray, positions: np.ndarray) -> np.ndarray:
        steps.append(input_ids.shape[1])
        return original(self, input_ids, new_length, positions)

    monkeypatch.setattr(Decoder, "step", step)
    return steps


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    tokenizer = tokenizer_files.byte_level()
    tiny = TinyDecoder(vocabulary_size=tokenizer_files.size(tokenizer), context_length=128)
    files = {
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": json.dumps({"eos_token": "</s>"}),
        "chat_template.jinja": TEMPLATE,
    }
    return load(write_artifact(tmp_path_factory.mktemp("chat") / "tiny", tiny, files=files, eos=(2,)), threads=1)


def extend(conversation: Conversation, tokens: list[int], count: int) -> list[int]:
    conversation.append(tokens)
    return conversation.complete(max_new_tokens=count).token_ids


def test_turns_equal_one_computation_and_feed_only_what_is_new(model: Model, tiny: TinyDecoder, fed: list[int]) -> None:
    conversation = model.conversation()
    first = extend(conversation, [4, 5, 6], 3)
    second = extend(conversation, [7, 8], 3)
    assert first == tiny.greedy([4, 5, 6], 3)
    assert second == tiny.greedy([4, 5, 6, *first, 7, 8], 3)
    assert conversation.tokens == (4, 5, 6, *first, 7, 8, *second)
    # The last token of a turn is sampled but not yet fed.
    assert fed == [3, 1, 1, 3, 1, 1]


def test_continuing_without_appending(model: Model, tiny: TinyDecoder) -> None:
    conversation = model.conversation()
    tokens = extend(conversation, [4], 2) + conversation.complete(max_new_tokens=4).token_ids
    assert tokens == tiny.greedy([4], 6)


def test_rewinding(model: Model, tiny: TinyDecoder, fed: list[int]) -> None:
    conversation = model.conversation()
    extend(conversation, [4, 5, 6], 3)
    conversation.rewind(4)
    assert conversation.tokens == (4, 5)
    fed.clear()
    assert conversation.complete(max_new_tokens=2).token_ids == tiny.greedy([4, 5], 2)
    assert fed == [1, 1]
    conversation.rewind(len(conversation.tokens))
    assert extend(conversation, [9], 2) == tiny.greedy([9], 2)
    with pytest.raises(ContextError, match="cannot rewind 4 tokens of a conversation of 3"):
        conversation.rewind(4)
    with pytest.raises(ContextError, match="cannot rewind -1"):
        conversation.rewind(-1)


def test_rewinding_what_was_never_computed(model: Model, tiny: TinyDecoder) -> None:
    conversation = model.conversation()
    conversation.append([4, 5, 6])
    conversation.rewind(1)
    assert conversation.complete(max_new_tokens=2).token_ids == tiny.greedy([4, 5], 2)


def test_forks_go_their_own_ways(model: Model, tiny: TinyDecoder, fed: list[int]) -> None:
    conversation = model.conversation()
    first = extend(conversation, [4, 5, 6], 2)
    fed.clear()
    twin = conversation.fork()
    assert extend(twin, [7], 2) == tiny.greedy([4, 5, 6, *first, 7], 2)
    assert extend(conversation, [8], 2) == tiny.greedy([4, 5, 6, *first, 8], 2)
    assert fed == [2, 1, 2, 1]


def test_an_empty_conversation_starts_from_bos(model: Model, tiny: TinyDecoder) -> None:
    conversation = model.conversation()
    assert conversation.complete(max_new_tokens=3).token_ids == tiny.greedy([1], 3)
    assert conversation.tokens[0] == 1


def test_the_context_bounds_a_conversation(model: Model, tiny: TinyDecoder) -> None:
    conversation = model.conversation(max_context=8)
    conversation.append([4, 5, 6])
    with pytest.raises(ContextError, match=r"would have 9 tokens, more than its context of 8"):
        conversation.append([1] * 6)
    with pytest.raises(ContextError, match="with max_new_tokens=6 it exceeds the context of 8"):
        conversation.complete(max_new_tokens=6)
    assert conversation.complete().token_ids == tiny.greedy([4, 5, 6], 5)
    with pytest.raises(ContextError, match="leaves no room in the context of 8"):
        conversation.complete()
    conversation.rewind(1)
    assert conversation.complete().token_ids == tiny.greedy([4, 5, 6], 5)[-1:]


def test_bad_tokens_change_nothing(model: Model, tiny: TinyDecoder) -> None:
    conversation = model.conversation()
    conversation.append([4])
    with pytest.raises(GenerationError, match="outside the vocabulary"):
        conversation.append([5, 40])
    with pytest.raises(GenerationError, match="no tokenizer"):
        conversation.append("text")
    with pytest.raises(GenerationError, match="no tokenizer"):
        conversation.generate()
    assert conversation.tokens == (4,)


def test_cancelling_leaves_the_conversation_usable(model: Model, tiny: TinyDecoder) -> None:
    conversation = model.conversation()
    conversation.append([4, 5])
    completion = conversation.complete(cancel=CancelAfter(0))
    assert (completion.token_ids, completion.finish_reason) == ([], "cancelled")
    completion = conversation.complete(cancel=CancelAfter(2))
    assert completion.token_ids == tiny.greedy([4, 5], 2)
    assert conversation.complete(max_new_tokens=3).token_ids == tiny.greedy([4, 5], 5)[2:]


def test_closing_a_stream_keeps_what_was_generated(text_model: Model) -> None:
    whole = text_model.complete("hello", max_new_tokens=20)[0].token_ids
    conversation = text_model.conversation()
    conversation.append("hello")
    prompt = len(conversation.tokens)
    stream = conversation.stream(max_new_tokens=20)
    next(stream)
    stream.close()
    generated = conversation.tokens[prompt:]
    assert 0 < len(generated) < 20
    assert list(generated) == whole[: len(generated)]
    rest = conversation.complete(max_new_tokens=20 - len(generated)).token_ids
    assert [*generated, *rest] == whole


def test_a_conversation_serves_one_caller_at_a_time(text_model: Model) -> None:
    conversation = text_model.conversation()
    conversation.append("hello")
    stream = conversation.stream(max_new_tokens=20)
    conversation.append(" wo")  # the stream has not begun
    next(stream)
    for use in (lambda: conversation.append("x"), conversation.fork, lambda: conversation.rewind(1)):
        with pytest.raises(GenerationError, match="the conversation is generating"):
            use()
    with pytest.raises(GenerationError, match="the conversation is generating"):
        conversation.generate(max_new_tokens=1)
    stream.close()
    conversation.append("x")


def test_text_turns(text_model: Model) -> None:
    conversation = text_model.conversation()
    conversation.append("hello")
    pieces: list[str] = []
    text = conversation.generate(max_new_tokens=10, stream=pieces.append)
    assert text == text_model.generate("hello", max_new_tokens=10) == "".join(pieces)
    before = conversation.tokens
    conversation.append(" wo")
    assert text_model.tokenizer is not None
    assert list(conversation.tokens[len(before) :]) == text_model.tokenizer.encode(" wo", special_tokens=False)


def test_conversations_in_threads_do_not_disturb_each_other(model: Model, tiny: TinyDecoder) -> None:
    found: dict[int, list[int]] = {}

    def work(first: int) -> None:
        conversation = model.conversation()
        for turn in range(5):
            extend(conversation, [first, turn], 3)
        found[first] = list(conversation.tokens)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for first, tokens in found.items():
        expected: list[int] = []
        for turn in range(5):
            expected += [first, turn]
            expected += tiny.greedy(expected, 3)
        assert tokens == expected
    assert len(found) == 6


def test_chat_reuses_the_cache_of_earlier_turns(chat_model: Model, fed: list[int]) -> None:
    assert chat_model.tokenizer is not None
    conversation = chat_model.conversation()
    messages = [{"role": "user", "content": "hello wo"}]
    answer = conversation.chat(messages, max_new_tokens=5)
    expected = chat_model.tokenizer.encode("hello wo</s>", special_tokens=False)
    assert list(conversation.tokens[: len(expected)]) == expected
    messages.append({"role": "user", "content": "hell"})
    fed.clear()
    second = conversation.chat(messages, max_new_tokens=5)
    assert fed[0] == len(chat_model.tokenizer.encode("hell</s>", special_tokens=False))
    assert second == chat_model.chat(messages, max_new_tokens=5)
    assert answer == chat_model.chat(messages[:1], max_new_tokens=5)


def test_chat_with_the_same_messages_computes_one_token(chat_model: Model, fed: list[int]) -> None:
    conversation = chat_model.conversation()
    messages = [{"role": "user", "content": "hello"}]
    first = conversation.chat(messages, max_new_tokens=2)
    fed.clear()
    assert conversation.chat(messages, max_new_tokens=2) == first
    assert fed == [1, 1]


def test_chat_streams(chat_model: Model) -> None:
    pieces: list[str] = []
    completion = chat_model.chat(
        [{"role": "user", "content": "hello"}], max_new_tokens=8, stream=pieces.append, temperature=1.5, seed=0
    )
    assert completion.text == "".join(pieces)
    conversation = chat_model.conversation()
    conversation.begin_chat([{"role": "user", "content": "hello"}])
    assert list(conversation.stream(max_new_tokens=8, temperature=1.5, seed=0)) == pieces


def test_chat_refusals(chat_model: Model, model: Model) -> None:
    with pytest.raises(ChatTemplateError, match="the model has no chat template"):
        model.chat([{"role": "user", "content": "hello"}])
    conversation = chat_model.conversation(max_context=4)
    with pytest.raises(ContextError, match=r"the chat has \d+ tokens, more than the context of 4"):
        conversation.chat([{"role": "user", "content": "a b c d e"}])
    assert conversation.tokens == ()


def test_a_chat_template_that_is_no_jinja(tmp_path: Path, tiny: TinyDecoder) -> None:
    model = load(write_artifact(tmp_path / "tiny", tiny, files={"chat_template.jinja": "{% for %}"}))
    with pytest.raises(ChatTemplateError, match=r"tiny/chat_template\.jinja: the chat template is not valid"):
        model.chat([])
