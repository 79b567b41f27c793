"""A loaded language model: text or token ids in, continuations out."""

from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload

import numpy as np
import numpy.typing as npt

from graphwright.runtime.artifact import Manifest, artifact_while_checked
from graphwright.runtime.cache import KVCache
from graphwright.runtime.conversation import Conversation
from graphwright.runtime.engines import Device, EngineFactory
from graphwright.runtime.errors import ArtifactError, GenerationError
from graphwright.runtime.generation import CancelSignal, Completion, continue_rows
from graphwright.runtime.loaded_model import LoadedModel
from graphwright.runtime.options import GenerationArguments, GenerationOptions
from graphwright.runtime.prompts import Prompt
from graphwright.runtime.request import Context, Request, read_request, read_tokens, start
from graphwright.runtime.session import Session

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
        prompts: Prompt | None = None,
        *,
        context: Context | Sequence[Context],
        stream: Callable[[str], object] | None = None,
        max_context: int | None = None,
        cancel: CancelSignal | None = None,
        **arguments: Unpack[GenerationArguments],
    ) -> Any: ...
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
        context: Context | Sequence[Context] | None = None,
        max_context: int | None = None,
        cancel: CancelSignal | None = None,
        **arguments: Unpack[GenerationArguments],
    ) -> list[str]: ...
    @overload
    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        context: Context | Sequence[Context] | None = None,
        max_context: int | None = None,
        cancel: CancelSignal | None = None,
        **arguments: Unpack[GenerationArguments],
    ) -> list[list[int]]: ...
    def generate(
        self,
        prompts: Prompt | Sequence[Prompt] | None = None,
        *,
        context: Context | Sequence[Context] | None = None,
        stream: Callable[[str], object] | None = None,
        max_context: int | None = None,
        cancel: CancelSignal | None = None,
        **arguments: Unpack[GenerationArguments],
    ) -> Any:
        """Continue one prompt or a batch: text gives text, token ids give the new token ids.

        A model with an encoder reads prompts as its context (T5, BART), and tokens begin with its start token. Given
        apart, `context` is what the encoder reads, texts, token ids, or arrays (Whisper's input_features, with or
        without a batch; text comes back if there is a tokenizer), and prompts are the tokens that the decoder begins
        with, one prompt for all contexts or one each.

        `stream` receives the text of a single prompt piece by piece; `max_context` holds prompt and continuation below
        the model's context length; `cancel` is asked between tokens. See `GenerationArguments` for the rest.
        """
        request = read_request(self.loaded, prompts, context, max_context, arguments)
        if stream is not None and not request.tokens.single:
            raise GenerationError("stream takes the text of a single prompt; this is a batch")
        rows = self._continue(request, stream, cancel)
        asked = zip(request.tokens.as_text, rows, strict=True)
        results = [row.text if as_text else row.token_ids for as_text, row in asked]
        return results[0] if request.tokens.single else results

    def complete(
        self,
        prompts: Prompt | Sequence[Prompt] | None = None,
        *,
        context: Context | Sequence[Context] | None = None,
        max_context: int | None = None,
        cancel: CancelSignal | None = None,
        **arguments: Unpack[GenerationArguments],
    ) -> list[Completion]:
        """As `generate`, with the token ids, text, log-probabilities and finish reason of every prompt, in a list."""
        return self._continue(read_request(self.loaded, prompts, context, max_context, arguments), None, cancel)

    def stream(
        self,
        prompt: Prompt | None = None,
        *,
        context: Context | None = None,
        max_context: int | None = None,
        cancel: CancelSignal | None = None,
        **arguments: Unpack[GenerationArguments],
    ) -> Generator[str, None, Completion]:
        """As `generate` for one prompt, yielding its text as it becomes final; the generator's value is the result.

        Errors in the arguments are raised by the call itself, before the first piece is asked for.
        """
        if self.tokenizer is None:
            raise GenerationError("streaming needs text, but the artifact has no tokenizer.json; use generate")
        request = read_request(self.loaded, prompt, context, max_context, arguments)
        if not request.tokens.single:
            raise GenerationError("stream takes a single prompt; this is a batch")

        def pieces() -> Generator[str, None, Completion]:
            started = request.start()
            for piece in continue_rows(started.decoder, started.rows, started.tokens, cancel):
                if piece:
                    yield piece
            return started.rows[0].completion()

        return pieces()

    def logits(
        self,
        token_ids: Sequence[int] | Sequence[Sequence[int]],
        *,
        context: Context | Sequence[Context] | None = None,
    ) -> npt.NDArray[np.float32]:
        """Logits, float32 [B, S, V], at every position of fresh sequences of equal length S.

        A model with an encoder needs the `context` that each sequence stands beside; see `generate`.
        """
        if self.manifest.program.encoder is not None and context is None:
            raise GenerationError("the model has an encoder: logits needs the context of the sequences")
        tokens = read_tokens(self.loaded, token_ids, context, GenerationOptions())
        rows = [row.tokens for row in tokens.rows]
        lengths = {len(row) for row in rows}
        if len(lengths) > 1:
            raise GenerationError(f"logits needs sequences of equal length, not {sorted(lengths)}")
        ids = np.array(rows, dtype=np.int64)
        decoder = start(self.loaded.session, tokens, self.loaded.context(ids.shape[1]))
        positions = np.tile(np.arange(ids.shape[1], dtype=np.int64), (len(rows), 1))
        return decoder.step(ids, np.full(len(rows), ids.shape[1]), positions)

    def conversation(self, *, max_context: int | None = None) -> Conversation:
        """An empty sequence with its own cache of `max_context` tokens (by default the model's context length).

        Raises GenerationError for a model with an encoder: its tokens stand beside a context of their own.
        """
        if self.manifest.program.encoder is not None:
            raise GenerationError(
                "a model with an encoder holds no conversation: its answer stands beside the prompt; use generate"
            )
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
        self, request: Request, stream: Callable[[str], object] | None, cancel: CancelSignal | None
    ) -> list[Completion]:
        if stream is not None and self.tokenizer is None:
            raise GenerationError("streaming needs text, but the artifact has no tokenizer.json")
        started = request.start()
        for piece in continue_rows(started.decoder, started.rows, started.tokens, cancel):
            if piece and stream is not None:
                stream(piece)
        return [row.completion() for row in started.rows]


def load(
    path: str | Path,
    *,
    threads: int | None = None,
    device: Device = "cpu",
    verify: bool = True,
    engine: EngineFactory | None = None,
) -> Model:
    """Load the decoder artifact in the folder `path`.

    `threads` is the number of cores to use, by default all; `device` is `cpu` or `cuda`; `verify=False` skips the
    hashes of the files. `engine` starts what runs the program; by default that of the artifact's backend. Raises
    ArtifactError or SessionError.
    """
    with artifact_while_checked(path, verify=verify) as artifact:
        if artifact.manifest.program.kind != "decoder":
            raise ArtifactError(f"{path} holds a plain function, not a language model; load it with load_function")
        return Model(LoadedModel(artifact, Session(artifact, threads=threads, device=device, engine=engine)))
