"""An artifact with its running session: what every way of generating shares."""

from functools import cached_property
from typing import TYPE_CHECKING

from graphwright.runtime.artifact import Artifact, Manifest
from graphwright.runtime.errors import ContextError, GenerationError
from graphwright.runtime.generation import Row
from graphwright.runtime.logits import RowFacts
from graphwright.runtime.options import GenerationArguments, GenerationOptions, resolve_options
from graphwright.runtime.prompts import Prompt, check_ids, encode_text
from graphwright.runtime.session import Session
from graphwright.runtime.settings import GENERATION_FILE, Beginning, ModelSettings, SpeechSettings, read_settings

# tokenizers and jinja2 are imported on first use, so that token ids need neither.
if TYPE_CHECKING:
    from graphwright.runtime.chat import ChatTemplate
    from graphwright.runtime.tokenizer import Tokenizer

_TOKENIZER_FILE = "tokenizer.json"


class LoadedModel:
    """A decoder's session, tokenizer, chat template and defaults; immutable, so safe to share between threads."""

    def __init__(self, artifact: Artifact, session: Session) -> None:
        self.session = session
        self._artifact = artifact
        self.settings = ModelSettings()
        if artifact.has(GENERATION_FILE):
            place = f"{artifact.folder}/{GENERATION_FILE}"
            self.settings = read_settings(artifact.read_text(GENERATION_FILE), place)
            self.settings.check_vocabulary(session.vocabulary_size)

    @property
    def manifest(self) -> Manifest:
        return self._artifact.manifest

    @cached_property
    def tokenizer(self) -> "Tokenizer | None":
        """The artifact's tokenizer, None when it has none. Raises ArtifactError when it is unusable."""
        if not self._artifact.has(_TOKENIZER_FILE):
            return None
        from graphwright.runtime.tokenizer import Tokenizer

        return Tokenizer(self._artifact.read_text(_TOKENIZER_FILE), f"{self._artifact.folder}/{_TOKENIZER_FILE}")

    @cached_property
    def chat_template(self) -> "ChatTemplate | None":
        """The artifact's chat template, None when it has none. Raises ChatTemplateError when it is not valid."""
        from graphwright.runtime.chat import ChatTemplate

        return ChatTemplate.from_artifact(self._artifact)

    def context(self, max_context: int | None) -> int:
        """`max_context`, or the model's context length. Raises ContextError when it is out of range."""
        length = self.session.context_length
        if max_context is None:
            return length
        if not 1 <= max_context <= length:
            raise ContextError(f"a context of {max_context} tokens is not in 1 to {length}, the model's context length")
        return max_context

    def encode(self, prompt: Prompt, name: str = "the prompt") -> list[int]:
        """The token ids that `prompt` stands for at the start of a sequence; BOS when there would be none.

        Raises GenerationError, whose message calls the prompt `name`.
        """
        token_ids = self.encode_more(prompt, name, special_tokens=True)
        if token_ids:
            return token_ids
        bos = self.manifest.model.bos_token_ids[:1]
        if not bos:
            raise GenerationError(f"{name} is empty and the model has no BOS token to start from; give a token")
        return check_ids(bos, self.session.vocabulary_size, "the manifest's BOS")

    @property
    def speech(self) -> SpeechSettings | None:
        """How the model begins to write down what it hears; None for a model that reads no array."""
        encoder = self.manifest.program.encoder
        return None if encoder is None or encoder.takes_tokens else self.settings.speech

    def beginning(self, options: GenerationOptions) -> Beginning:
        """What the tokens beside a context begin with. Raises GenerationError for a model that does not say."""
        start = self.manifest.model.decoder_start_token_id
        if start is None:
            raise GenerationError("the model does not say which token its decoder starts from; give prompt and context")
        check_ids([start], self.session.vocabulary_size, "the manifest's decoder_start_token_id")
        return (
            Beginning((start,)) if self.speech is None else self.speech.beginning(start, options.language, options.task)
        )

    def encode_more(self, prompt: Prompt, name: str, *, special_tokens: bool) -> list[int]:
        """The token ids of `prompt` wherever it stands, maybe none. Raises GenerationError."""
        if isinstance(prompt, str):
            prompt = encode_text(prompt, self.tokenizer, special_tokens=special_tokens, name=name)
        return check_ids(prompt, self.session.vocabulary_size, name)

    def options(self, arguments: GenerationArguments) -> GenerationOptions:
        """`arguments` over the model's defaults, checked against the model. Raises GenerationError."""
        options = resolve_options(self.settings.defaults, arguments, self.settings.sampling)
        vocabulary_size = self.session.vocabulary_size
        for name, tokens in options.token_ids():
            check_ids(tokens, vocabulary_size, name)
        if options.logprobs is not None and options.logprobs > vocabulary_size:
            raise GenerationError(f"logprobs is {options.logprobs}; the vocabulary has {vocabulary_size} tokens")
        if options.stop_strings and self.tokenizer is None:
            raise GenerationError("stop_strings need text, but the artifact has no tokenizer.json; use stop_tokens")
        if self.speech is None and not (options.language is None and options.task is None):
            raise GenerationError("language and task are options of a model of speech; this model has none")
        encoder = self.manifest.program.encoder
        of_context = options.encoder_repetition_penalty != 1 or options.encoder_no_repeat_ngram_size
        if of_context and encoder is not None and not encoder.takes_tokens:
            raise GenerationError(
                "encoder_repetition_penalty and encoder_no_repeat_ngram_size look at the tokens of a context, and "
                f"{encoder.context[0]} is an array: leave them out"
            )
        return options

    def row(
        self,
        prompt: list[int],
        options: GenerationOptions,
        room: int,
        *,
        name: str,
        index: int = 0,
        context: list[int] | None = None,
    ) -> Row:
        """A row that continues `prompt` within `room` tokens; `context` is the tokens of what the encoder reads.

        Raises ContextError when it does not fit.
        """
        tokens = tuple(prompt) if self.manifest.program.encoder is None else None if context is None else tuple(context)
        facts = RowFacts(
            prompt_length=len(prompt),
            limit=self._limit(len(prompt), options, room, name),
            vocabulary_size=self.session.vocabulary_size,
            eos_tokens=frozenset(self.manifest.model.eos_token_ids),
            stop_tokens=frozenset(options.stop_tokens),
            context=tokens,
        )
        return Row(prompt, options=options, facts=facts, tokenizer=self.tokenizer, index=index)

    def _limit(self, length: int, options: GenerationOptions, room: int, name: str) -> int:
        """How many tokens may follow `length` of them: what the caller says, or the model's settings, or all the room.

        What the settings allow beyond the room is cut, what the caller asks for is refused.
        """
        left = room - length
        if left < 1:
            raise ContextError(f"{name} has {length} tokens and leaves no room in the context of {room}; shorten it")
        if options.max_new_tokens is not None:
            if left < options.max_new_tokens:
                raise ContextError(
                    f"{name} has {length} tokens; with max_new_tokens={options.max_new_tokens} it exceeds the context "
                    f"of {room}; shorten it or lower max_new_tokens"
                )
            return options.max_new_tokens
        if self.settings.max_new_tokens is not None:
            return min(left, self.settings.max_new_tokens)
        if self.settings.max_length is None:
            return left
        counted = length
        if self.speech is not None:
            # What a transcription begins with does not count, as in Hugging Face's Whisper, up to half the context.
            counted = max(0, length - (self.session.context_length // 2 - 1))
        allowed = self.settings.max_length - counted
        if allowed < 1:
            raise ContextError(
                f"{name} has {length} tokens, and the model's settings (max_length) allow {self.settings.max_length} "
                "with those that follow; give max_new_tokens, or shorten it"
            )
        return min(left, allowed)
