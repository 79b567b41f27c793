"""Reading `generation_config.json`: the defaults of a model's generations, checked against its vocabulary."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from graphwright.runtime.errors import ArtifactError, GenerationError
from graphwright.runtime.options import GenerationOptions
from graphwright.runtime.settings import fields
from graphwright.runtime.settings.speech import SpeechSettings
from graphwright.runtime.validation import first_finding

GENERATION_FILE = "generation_config.json"

_OBJECT: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


class _Kinds(BaseModel):
    """Types of what is not an option as it stands. `max_length` counts the prompt; `max_new_tokens` comes first."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    max_length: Annotated[int, Field(ge=1)] | None = None
    max_new_tokens: Annotated[int, Field(ge=1)] | None = None
    do_sample: bool | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    top_h: float | None = None
    typical_p: float | None = None
    epsilon_cutoff: float | None = None
    eta_cutoff: float | None = None


class ModelSettings(BaseModel):
    """What a file says. `place` names it, `defaults` are options of a generation, `notices` a line for each departure.

    `sampling` holds where a call asks for sampling and the file does not, and is only checked then. The limits are
    those of the file. `speech` is None where the file has nothing of it.
    """

    model_config = ConfigDict(frozen=True)

    place: str = ""
    defaults: dict[str, Any] = {}
    sampling: dict[str, Any] = {}
    max_length: int | None = None
    max_new_tokens: int | None = None
    speech: SpeechSettings | None = None
    notices: tuple[str, ...] = ()

    def check_vocabulary(self, size: int) -> None:
        """Raises ArtifactError when the settings name a token that is none of `size`."""
        for name, tokens in self._token_ids():
            strange = next((token for token in tokens if not 0 <= token < size), None)
            if strange is not None:
                raise ArtifactError(
                    f"{self.place}: {name} holds the token id {strange}, outside the vocabulary (0 to {size - 1})"
                )

    def _token_ids(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield from GenerationOptions.model_validate(self.defaults).token_ids()
        if self.speech is not None:
            yield from self.speech.token_ids()


def read_settings(text: str, place: str) -> ModelSettings:
    """The settings in `text`, the content of the `generation_config.json` at `place`.

    Raises ArtifactError for what is not one, for values out of range, and for what is refused.
    """
    try:
        settings = _OBJECT.validate_json(text)
        refusal = fields.refusal(settings, place)
        if refusal is not None:
            raise ArtifactError(refusal)
        kinds = _Kinds.model_validate(settings)
        speech = SpeechSettings.model_validate(settings)
        # A model of speech is greedy, whatever its file says: sampling is for a second try.
        sampling = bool(kinds.do_sample) and not speech.present
        stated = {name: settings[name] for name in fields.OPTIONS if settings.get(name) is not None}
        if speech.present:
            stated |= {name: settings[name] for name in fields.SPEECH_OPTIONS if settings.get(name) is not None}
        defaults = {**(_sampling(settings) if sampling else {"temperature": 0.0}), **stated}
        options = GenerationOptions.model_validate(defaults)
    except ValidationError as error:
        raise ArtifactError(f"{place}: {first_finding(error, GenerationOptions)}") from None
    problem = options.contradiction()
    try:
        if speech.present:
            speech.beginning(0, options.language, options.task)
    except GenerationError as error:
        problem = str(error)
    if problem is not None:
        raise ArtifactError(f"{place}: {problem}")
    return ModelSettings(
        place=place,
        defaults=defaults,
        sampling={} if sampling else _sampling(settings),
        max_length=kinds.max_length,
        max_new_tokens=kinds.max_new_tokens,
        speech=speech if speech.present else None,
        notices=tuple(fields.notices(settings, place, speech=speech.present)),
    )


def _sampling(settings: Mapping[str, Any]) -> dict[str, float]:
    """The file's options of sampling, or what transformers takes for them."""
    given = {name: settings.get(name) for name in fields.SAMPLING_DEFAULTS}
    defaults = {
        name: default if given[name] is None else given[name] for name, default in fields.SAMPLING_DEFAULTS.items()
    }
    return {name: value for name, value in defaults.items() if value is not None}
