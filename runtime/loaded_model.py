"""An artifact with its running session: what every way of generating shares."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

from graphwright.runtime.artifact import Artifact, Manifest
from graphwright.runtime.errors import ContextError, GenerationError
from graphwright.runtime.generation import Row
from graphwright.runtime.options import GenerationArguments, GenerationOptions, read_defaults, resolve_options
from graphwright.runtime.prompts import Prompt, check_ids, encode_text
from graphwright.runtime.session import Session

# tokenizers and jinja2 are imported on first use, so that token ids need neither.
if TYPE_CHECKING:
    from graphwright.runtime.chat import ChatTemplate
    from graphwright.runtime.tokenizer import Tokenizer

_TOKENIZER_FILE = "tokenizer.json"
_GENERATION_FILE = "generation_config.json"


class LoadedModel:
    """A decoder's session, tokenizer, chat template and defaults; immutable, so safe to share between threads."""

    def __init__(self, artifact: Artifact, session: Session) -> None:
        self.session = session
        self._artifact = artifact
        self._defaults: dict[str, Any] = {}
        if artifact.has(_GENERATION_FILE):
            place = f"{artifact.folder}/{_GENERATION_FILE}"
            self._defaults = read_defaults(artifact.read_text(_GENERATION_FILE), place)

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

    def start_tokens(self) -> list[int]:
        """What the tokens beside a context begin with. Raises GenerationError for a model that does not say."""
        start = self.manifest.model.decoder_start_token_id
        if start is None:
            raise GenerationError("the model does not say which token its decoder starts from; give prompt and context")
        return check_ids([start], self.session.vocabulary_size, "the manifest's decoder_start_token_id")

    def encode_more(self, prompt: Prompt, name: str, *, special_tokens: bool) -> list[int]:
        """The token ids of `prompt` wherever it stands, maybe none. Raises GenerationError."""
        if isinstance(prompt, str):
            prompt = encode_text(prompt, self.tokenizer, special_tokens=special_tokens, name=name)
        return check_ids(prompt, self.session.vocabulary_size, name)

    def options(self, arguments: GenerationArguments) -> GenerationOptions:
        """`arguments` over the model's defaults, checked against the model. Raises GenerationError."""
        options = resolve_options(self._defaults, arguments)
        vocabulary_size = self.session.vocabulary_size
        check_ids(options.stop_tokens, vocabulary_size, "stop_tokens")
        if options.logprobs is not None and options.logprobs > vocabulary_size:
            raise GenerationError(f"logprobs is {options.logprobs}; the vocabulary has {vocabulary_size} tokens")
        if options.stop_strings and self.tokenizer is None:
            raise GenerationError("stop_strings need text, but the artifact has no tokenizer.json; use stop_tokens")
        return options

    def row(self, prompt: list[int], options: GenerationOptions, context: int, *, name: str, index: int = 0) -> Row:
        """A row that continues `prompt` within `context` tokens. Raises ContextError when it does not fit."""
        room = context - len(prompt)
        if room < 1:
            raise ContextError(
                f"{name} has {len(prompt)} tokens and leaves no room in the context of {context}; shorten it"
            )
        if options.max_new_tokens is not None and room < options.max_new_tokens:
            raise ContextError(
                f"{name} has {len(prompt)} tokens; with max_new_tokens={options.max_new_tokens} it exceeds the context "
                f"of {context}; shorten it or lower max_new_tokens"
            )
        return Row(
            prompt,
            limit=options.max_new_tokens or room,
            options=options,
            vocabulary_size=self.session.vocabulary_size,
            end_tokens=frozenset((*self.manifest.model.eos_token_ids, *options.stop_tokens)),
            tokenizer=self.tokenizer,
            index=index,
        )
