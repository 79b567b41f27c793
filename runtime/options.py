"""How to continue a prompt: the options of one generation, checked, over the model's own defaults."""

from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from graphwright.runtime.errors import ArtifactError, OptionValueError
from graphwright.runtime.validation import finding_parts, first_finding

Finite = Annotated[float, Field(allow_inf_nan=False)]


class GenerationArguments(TypedDict, total=False):
    """The keyword arguments of every method that generates. None and absence mean the model's own default.

    max_new_tokens: at most so many tokens a row; by default until the context is full
    temperature: divides the logits; 0 is greedy
    top_k: sample among the k most likely tokens (Fan et al. 2018); 0 switches it off
    top_p: among the fewest tokens whose probabilities sum to p (Holtzman et al. 2020); 1 switches it off
    min_p: among tokens at least min_p times as likely as the likeliest (Nguyen et al. 2024); 0 switches it off
    repetition_penalty: of tokens seen in prompt or continuation (CTRL, Keskar et al. 2019, section 4.1); 1 is none
    seed: makes sampling repeatable; row i of a batch draws from its own stream (seed, i)
    stop_tokens: token ids that end a row, beside the model's own end-of-sequence tokens
    stop_strings: texts that end a row; the text is cut before them
    logprobs: also return log-probabilities, with so many of the likeliest alternatives (0: the chosen token's only)
    """

    max_new_tokens: int | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float | None
    seed: int | None
    stop_tokens: Sequence[int] | None
    stop_strings: str | Sequence[str] | None
    logprobs: int | None


class GenerationOptions(BaseModel):
    """`GenerationArguments` with every default filled in and every value in its range."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_new_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[Finite, Field(ge=0)] = 0.0
    top_k: Annotated[int, Field(ge=0)] = 0
    top_p: Annotated[Finite, Field(gt=0, le=1)] = 1.0
    min_p: Annotated[Finite, Field(ge=0, le=1)] = 0.0
    repetition_penalty: Annotated[Finite, Field(ge=0.01, le=100)] = 1.0
    seed: Annotated[int, Field(ge=0)] | None = None
    stop_tokens: tuple[Annotated[int, Field(ge=0)], ...] = ()
    stop_strings: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    logprobs: Annotated[int, Field(ge=0)] | None = None

    @field_validator("stop_strings", mode="before")
    @classmethod
    def _one_is_a_sequence(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class ModelDefaults(BaseModel):
    """What `generation_config.json` (Hugging Face) says about sampling; its other fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    do_sample: bool | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None

    def options(self) -> dict[str, Any]:
        """As arguments: greedy, penalized or not, unless the file asks for sampling."""
        sampling = ("temperature", "top_k", "top_p", "min_p") if self.do_sample else ()
        stated = {name: getattr(self, name) for name in (*sampling, "repetition_penalty")}
        greedy_or_not = {"temperature": 1.0 if self.do_sample else 0.0}
        return greedy_or_not | {name: value for name, value in stated.items() if value is not None}


def read_defaults(text: str, place: str) -> dict[str, Any]:
    """The defaults in `text`, the content of the `generation_config.json` at `place`. Raises ArtifactError."""
    try:
        defaults = ModelDefaults.model_validate_json(text).options()
        GenerationOptions.model_validate(defaults)
    except ValidationError as error:
        raise ArtifactError(f"{place}: {first_finding(error, GenerationOptions)}") from None
    return defaults


def resolve_options(defaults: dict[str, Any], arguments: GenerationArguments) -> GenerationOptions:
    """`arguments` over `defaults`. Raises OptionValueError.

    A filter given to a model that is greedy by default asks for sampling, so the temperature is then 1.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    merged = defaults | given
    asks_for_sampling = any(name in given for name in ("top_k", "top_p", "min_p"))
    if asks_for_sampling and "temperature" not in given and not merged.get("temperature"):
        merged["temperature"] = 1.0
    try:
        return GenerationOptions.model_validate(merged)
    except ValidationError as error:
        raise OptionValueError(*finding_parts(error, GenerationOptions)) from None
