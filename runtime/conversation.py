"""Several turns over one KV cache."""

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Unpack

from graphwright.runtime.cache import KVCache
from graphwright.runtime.decoder import Decoder
from graphwright.runtime.errors import ChatTemplateError, ContextError, GenerationError
from graphwright.runtime.generation import CancelSignal, Completion, Row, continue_rows
from graphwright.runtime.loaded_model import LoadedModel
from graphwright.runtime.options import GenerationArguments
from graphwright.runtime.prompts import Prompt

if TYPE_CHECKING:
    from graphwright.runtime.chat import Message


class Conversation:
    """One growing sequence of tokens whose keys and values stay in a cache.

    Only tokens that the cache does not hold yet are computed. Conversations of one model may run in different threads;
    one conversation serves one caller at a time and refuses a second with GenerationError. A dropped or cancelled
    generation leaves what it generated as part of the sequence.
    """

    def __init__(self, loaded: LoadedModel, cache: KVCache) -> None:
        self._loaded = loaded
        self._cache = cache
        self._decoder = Decoder(cache)
        # The cache holds a beginning of these; at least the last token, sampled but not fed, is beyond it.
        self._tokens: list[int] = []
        self._busy = threading.Lock()

    @property
    def tokens(self) -> tuple[int, ...]:
        """All token ids so far, prompts and continuations."""
        return tuple(self._tokens)

    @property
    def max_context(self) -> int:
        """How many tokens the conversation can hold."""
        return self._cache.capacity

    def append(self, prompt: Prompt) -> None:
        """Add a text or token ids; they are computed with the next generation.

        A text gets the tokenizer's special tokens, such as BOS, only when it is the first. Raises GenerationError, or
        ContextError when the context would overflow.
        """
        with self._exclusive():
            token_ids = self._loaded.encode_more(prompt, "the text", special_tokens=not self._tokens)
            total = len(self._tokens) + len(token_ids)
            if total > self.max_context:
                raise ContextError(
                    f"the conversation would have {total} tokens, more than its context of {self.max_context}; "
                    "start it with a larger max_context, or rewind"
                )
            self._tokens += token_ids

    def rewind(self, tokens: int) -> None:
        """Forget the last `tokens` tokens. Raises ContextError when there are not so many."""
        with self._exclusive():
            if not 0 <= tokens <= len(self._tokens):
                raise ContextError(f"cannot rewind {tokens} tokens of a conversation of {len(self._tokens)}")
            self._replace(self._tokens[: len(self._tokens) - tokens])

    def fork(self) -> "Conversation":
        """An independent conversation with the same tokens, and a copy of the cache."""
        with self._exclusive():
            twin = Conversation(self._loaded, self._cache.fork())
            twin._tokens = list(self._tokens)
            return twin

    def begin_chat(
        self,
        messages: "Sequence[Message]",
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> None:
        """Make the conversation the chat template's rendering of all `messages` so far, ready for the answer.

        What the cache already holds of it, from earlier turns, is kept. Raises ChatTemplateError or ContextError.
        """
        template = self._loaded.chat_template
        if template is None:
            raise ChatTemplateError("the model has no chat template (chat_template.jinja); give a prompt instead")
        text = template.render(messages, tools=tools, variables=variables)
        with self._exclusive():
            # The template writes BOS and its like itself.
            token_ids = self._loaded.encode_more(text, "the chat", special_tokens=False)
            if len(token_ids) > self.max_context:
                raise ContextError(
                    f"the chat has {len(token_ids)} tokens, more than the context of {self.max_context}; "
                    "shorten it or use a larger max_context"
                )
            self._replace(token_ids)

    def chat(
        self,
        messages: "Sequence[Message]",
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        stream: Callable[[str], object] | None = None,
        cancel: CancelSignal | None = None,
        **arguments: Unpack[GenerationArguments],
    ) -> Completion:
        """Answer `messages`, the whole chat so far; see `begin_chat` and `complete`."""
        self.begin_chat(messages, tools=tools, variables=variables)
        return self.complete(stream=stream, cancel=cancel, **arguments)

    def generate(
        self,
        *,
        stream: Callable[[str], object] | None = None,
        cancel: CancelSignal | None = None,
        **arguments: Unpack[GenerationArguments],
    ) -> str:
        """Continue the sequence and return the new text. Raises GenerationError for a model without a tokenizer."""
        if self._loaded.tokenizer is None:
            raise GenerationError("text needs a tokenizer, but the artifact has no tokenizer.json; use complete")
        return self.complete(stream=stream, cancel=cancel, **arguments).text or ""

    def complete(
        self,
        *,
        stream: Callable[[str], object] | None = None,
        cancel: CancelSignal | None = None,
        **arguments: Unpack[GenerationArguments],
    ) -> Completion:
        """Continue the sequence; an empty one starts from BOS. `stream` receives the text piece by piece."""
        pieces = self.stream(cancel=cancel, **arguments)
        while True:
            try:
                piece = next(pieces)
            except StopIteration as end:
                return end.value
            if stream is not None:
                stream(piece)

    def stream(
        self, *, cancel: CancelSignal | None = None, **arguments: Unpack[GenerationArguments]
    ) -> Generator[str, None, Completion]:
        """Continue the sequence, yielding text as it becomes final; the generator's value is the whole result.

        Errors in the arguments are raised by the call itself. The conversation is taken from the first piece until the
        generator ends or is closed.
        """
        self._row(arguments)

        def pieces() -> Generator[str, None, Completion]:
            with self._exclusive():
                row = self._row(arguments)
                self._replace(row.prompt)
                try:
                    cached = int(self._cache.lengths[0])
                    for piece in continue_rows(self._decoder, [row], [self._tokens[cached:]], cancel):
                        if piece:
                            yield piece
                    return row.completion()
                finally:
                    self._tokens += row.token_ids

        return pieces()

    def _row(self, arguments: GenerationArguments) -> Row:
        options = self._loaded.options(arguments)
        prompt = list(self._tokens) or self._loaded.encode([], "the conversation")
        return self._loaded.row(prompt, options, self.max_context, name="the conversation")

    def _replace(self, tokens: list[int]) -> None:
        """Make `tokens` the sequence and keep of the cache what still holds, leaving the last token to feed."""
        common = 0
        for old, new in zip(self._tokens, tokens, strict=False):
            if old != new:
                break
            common += 1
        cached = int(self._cache.lengths[0])
        forgotten = cached - min(cached, common, max(len(tokens) - 1, 0))
        # What cannot be taken back is computed again from the start.
        self._cache.rewind(forgotten if self._cache.can_rewind(forgotten) else cached)
        self._tokens = list(tokens)

    @contextmanager
    def _exclusive(self) -> Generator[None]:
        if not self._busy.acquire(blocking=False):
            raise GenerationError("the conversation is generating; finish or close its stream first, or fork before it")
        try:
            yield
        finally:
            self._busy.release()
