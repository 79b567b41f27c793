"""How a model of speech, such as Whisper, begins: start, language, task, and that no timestamps are wanted."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from graphwright.runtime.errors import GenerationError
from graphwright.runtime.settings.languages import language_token

TokenId = Annotated[int, Field(ge=0)]

TASKS = ("transcribe", "translate")


@dataclass(frozen=True)
class Beginning:
    """The tokens that a row begins with.

    Where there are `languages`, the second token only holds the place of one, which the model is to tell: it is the
    likeliest of them behind the first token.
    """

    tokens: tuple[int, ...]
    languages: tuple[int, ...] = ()


class SpeechSettings(BaseModel):
    """The fields of `generation_config.json` that only models of speech have; None where the file is silent.

    `forced_decoder_ids` are pairs of a position, from 1 on, and a token, or None for the language to be detected.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    forced_decoder_ids: tuple[tuple[Annotated[int, Field(ge=1)], TokenId | None], ...] | None = None
    is_multilingual: bool | None = None
    lang_to_id: dict[str, TokenId] | None = None
    task_to_id: dict[str, TokenId] | None = None
    no_timestamps_token_id: TokenId | None = None

    @property
    def present(self) -> bool:
        """Whether the file has any of them."""
        return any(value is not None for value in (self.lang_to_id, self.task_to_id, self.no_timestamps_token_id)) or (
            bool(self.forced_decoder_ids)
        )

    def token_ids(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """The token ids that each field names."""
        yield "forced_decoder_ids", tuple(t for _, t in self.forced_decoder_ids or () if t is not None)
        yield "lang_to_id", tuple((self.lang_to_id or {}).values())
        yield "task_to_id", tuple((self.task_to_id or {}).values())
        yield "no_timestamps_token_id", () if self.no_timestamps_token_id is None else (self.no_timestamps_token_id,)

    def beginning(self, start: int, language: str | None, task: str | None) -> Beginning:
        """As Hugging Face's Whisper begins; `start` is the model's first token. Raises GenerationError.

        A language without a task is transcribed. With neither, the forced tokens hold.
        """
        if self.is_multilingual is False and not (language is None and task is None):
            raise GenerationError("the model knows English alone, so it takes neither language nor task")
        told: list[int | None] = [] if language is None else [self._language(language)]
        if language is None and task is None:
            told = self._forced()
        languages: tuple[int, ...] = ()
        if self.lang_to_id and (not told or told[0] is None):
            languages = tuple(self.lang_to_id.values())
            told[:1] = languages[:1]
        tokens = [start, *(token for token in told if token is not None)]
        if task is not None or (language is not None and self.task_to_id):
            tokens.append(self._task(task or TASKS[0]))
        if self.no_timestamps_token_id is not None and tokens[-1] != self.no_timestamps_token_id:
            tokens.append(self.no_timestamps_token_id)
        return Beginning(tuple(tokens), languages)

    def _forced(self) -> list[int | None]:
        pairs = self.forced_decoder_ids or ()
        if [position for position, _ in pairs] != list(range(1, len(pairs) + 1)):
            raise GenerationError("the positions in forced_decoder_ids must be 1, 2, 3 and so on")
        return [token for _, token in pairs]

    def _language(self, language: str) -> int:
        known = self.lang_to_id or {}
        token = language_token(language)
        if token not in known:
            names = ", ".join(name.strip("<|>") for name in list(known)[:100]) or "none"
            raise GenerationError(f"language is {language!r}; the model knows {names}")
        return known[token]

    def _task(self, task: str) -> int:
        known = self.task_to_id or {}
        if task not in TASKS or task not in known:
            names = " and ".join(name for name in TASKS if name in known) or "none"
            raise GenerationError(f"task is {task!r}; the model knows {names}")
        return known[task]
