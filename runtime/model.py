"""A loaded language model: text or token ids in, continuations out."""

from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload

import numpy as np
import numpy.typing as npt

from graphwright.runtime.artifact import Manifest, artifact_while_checked
from graphwright.runtime.cache import KVCache
from graphwright.runtime.completion import Completion
from graphwright.runtime.conversation import Conversation
from graphwright.runtime.decoder import Decoder
from graphwright.runtime.errors import ArtifactError, GenerationError
from graphwright.runtime.generation import CancelSignal, Row, continue_rows
from graphwright.runtime.loaded_model import LoadedModel
from graphwright.runtime.options import GenerationArguments
from graphwright.runtime.prompts import Prompt, split_prompts
from graphwright.runtime.session import Device, Session

if TYPE_CHECKING:
    from graphwright.runtime.chat import Message
    from graphwright.runtime.tokenizer import Tokenizer


class Model:
    """A decoder artifact, ready to generate. Safe to use from several threads: each call has its own cache.

    Errors are `UserError`s: GenerationError for prompts and options, ContextError when a request does not fit the
    context (both before any work), SessionError when the program fails.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded

    @property
    def manifest(self) -> Manifest:
        return self.loaded.manifest

    @property
    def tokenizer(self) -> "Tokenizer | None":
        """The artifact's tokenizer, read on first use; None when it has none."""
        return self.loaded.tokenizer

    def cache_bytes(self, *, batch: int = 1, max_context: int | None = None) -> int:
        """Bytes of KV cache that `batch` sequences of `max_context` tokens take; nothing is allocated."""
        return KVCache.bytes_for(self.manifest, batch, self.loaded.context(max_context))

    @overload
    def generate(
        self,
        prompts: str,
        *,
        stream: Callable[[str], object] | None = None,
        max_context: int | None = None,
        cancel: CancelSignal | None = None,
        **arguments: Unpack[GenerationArguments],
    ) -> str: ...
    @overload
    def generate(
        self,
        prompts: Sequence[int],
        *,
        stream: Callable[[str], object] | None = None,
        max_context: int | None = None,
        cancel: CancelSignal | None = None,
        **arguments: Unpack[GenerationArguments],
    ) -> list[int]: ...
    @overload
    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_context: int | None = None,
        cancel: CancelSignal | None = None,
        **arguments: Unpack[GenerationArguments],
    ) -> list[str]: ...
    @overload
    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_context: int | None = None,
        cancel: CancelSignal | None = None,
        **arguments: Unpack[GenerationArguments],
    ) -> list[list[int]]: ...
    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        stream: Callable[[str], object] | None = None,
        max_context: int | None = None,
        cancel: CancelSignal | None = None,
        **arguments: Unpack[GenerationArguments],
    ) -> Any:
        """Continue one prompt or a batch: text gives text, token ids give the new token ids.

        `stream` receives the text of a single prompt piece by piece; `max_context` holds prompt and continuation below
        the model's context length; `cancel` is asked between tokens. See `GenerationArguments` for the rest.
        """
        batch, single = split_prompts(prompts)
        if stream is not None and not single:
            raise GenerationError("stream takes the text of a single prompt; this is a batch")
        rows = self._continue(batch, stream, max_context, cancel, arguments)
        results = [
            row.text if isinstance(prompt, str) else row.token_ids for prompt, row in zip(batch, rows, strict=True)
        ]
        return results[0] if single else results

    def complete(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        max_context: int | None = None,
        cancel: CancelSignal | None = None,
        **arguments: Unpack[GenerationArguments],
    ) -> list[Completion]:
        """As `generate`, with the token ids, text, log-probabilities and finish reason of every prompt, in a list."""
        return self._continue(split_prompts(prompts)[0], None, max_context, cancel, arguments)

    def stream(
        self,
        prompt: Prompt,
        *,
        max_context: int | None = None,
        cancel: CancelSignal | None = None,
        **arguments: Unpack[GenerationArguments],
    ) -> Generator[str, None, Completion]:
        """As `generate` for one prompt, yielding its text as it becomes final; the generator's value is the result.

        Errors in the arguments are raised by the call itself, before the first piece is asked for.
        """
        batch, single = split_prompts(prompt)
        if not single:
            raise GenerationError("stream takes a single prompt; this is a batch")
        if self.tokenizer is None:
            raise GenerationError("streaming needs text, but the artifact has no tokenizer.json; use generate")
        start = self._prepare(batch, max_context, arguments)

        def pieces() -> Generator[str, None, Completion]:
            rows, prompts, capacity = start
            decoder = Decoder(KVCache(self.loaded.session, 1, capacity))
            for piece in continue_rows(decoder, rows, prompts, cancel):
                if piece:
                    yield piece
            return rows[0].completion()

        return pieces()

    def logits(self, token_ids: Sequence[int] | Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """Logits, float32 [B, S, V], at every position of fresh sequences of equal length S."""
        batch, _ = split_prompts(token_ids)
        rows = [self.loaded.encode(prompt, f"sequence {index}") for index, prompt in enumerate(batch)]
        lengths = {len(row) for row in rows}
        if len(lengths) > 1:
            raise GenerationError(f"logits needs sequences of equal length, not {sorted(lengths)}")
        ids = np.array(rows, dtype=np.int64)
        decoder = Decoder(KVCache(self.loaded.session, len(rows), self.loaded.context(ids.shape[1])))
        positions = np.tile(np.arange(ids.shape[1], dtype=np.int64), (len(rows), 1))
        return decoder.step(ids, np.full(len(rows), ids.shape[1]), positions)

    def conversation(self, *, max_context: int | None = None) -> Conversation:
        """An empty sequence with its own cache of `max_context` tokens (by default the model's context length)."""
        return Conversation(self.loaded, KVCache(self.loaded.session, 1, self.loaded.context(max_context)))

    def chat(
        self,
        messages: "Sequence[Message]",
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        stream: Callable[[str], object] | None = None,
        max_context: int | None = None,
        cancel: CancelSignal | None = None,
        **arguments: Unpack[GenerationArguments],
    ) -> Completion:
        """Answer `messages` through the model's chat template; see `Conversation.chat` for several turns."""
        conversation = self.conversation(max_context=max_context)
        return conversation.chat(messages, tools=tools, variables=variables, stream=stream, cancel=cancel, **arguments)

    def _continue(
        self,
        batch: Sequence[Prompt],
        stream: Callable[[str], object] | None,
        max_context: int | None,
        cancel: CancelSignal | None,
        arguments: GenerationArguments,
    ) -> list[Completion]:
        if stream is not None and self.tokenizer is None:
            raise GenerationError("streaming needs text, but the artifact has no tokenizer.json")
        rows, prompts, capacity = self._prepare(batch, max_context, arguments)
        decoder = Decoder(KVCache(self.loaded.session, len(rows), capacity))
        for piece in continue_rows(decoder, rows, prompts, cancel):
            if piece and stream is not None:
                stream(piece)
        return [row.completion() for row in rows]

    def _prepare(
        self, batch: Sequence[Prompt], max_context: int | None, arguments: GenerationArguments
    ) -> tuple[list[Row], list[list[int]], int]:
        """Rows, their prompts' ids, and the capacity that their cache needs."""
        options = self.loaded.options(arguments)
        context = self.loaded.context(max_context)
        names = ["the prompt"] if len(batch) == 1 else [f"prompt {index}" for index in range(len(batch))]
        prompts = [self.loaded.encode(prompt, name) for prompt, name in zip(batch, names, strict=True)]
        rows = [
            self.loaded.row(prompt, options, context, name=name, index=index)
            for index, (prompt, name) in enumerate(zip(prompts, names, strict=True))
        ]
        longest = max(len(prompt) for prompt in prompts)
        return rows, prompts, min(context, longest + (options.max_new_tokens or context))


def load(path: str | Path, *, threads: int | None = None, device: Device = "cpu", verify: bool = True) -> Model:
    """Load the decoder artifact in the folder `path`.

    `threads` is the number of cores to use, by default all; `device` is `cpu` or `cuda`; `verify=False` skips the
    hashes of the files. Raises ArtifactError or SessionError.
    """
    with artifact_while_checked(path, verify=verify) as artifact:
        if artifact.manifest.program.kind != "decoder":
            raise ArtifactError(f"{path} holds a plain function, not a language model; load it with load_function")
        return Model(LoadedModel(artifact, Session(artifact, threads=threads, device=device)))
