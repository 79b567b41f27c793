"""How to continue a prompt: the options of one generation, checked, over the model's own defaults."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, TypedDict, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from graphwright.runtime.errors import GenerationError, OptionValueError
from graphwright.runtime.validation import finding_parts

Finite = Annotated[float, Field(allow_inf_nan=False)]
TokenId = Annotated[int, Field(ge=0)]
TokenSequence = Annotated[tuple[TokenId, ...], Field(min_length=1)]
Bias = Annotated[float, Field(lt=math.inf)]
Penalty = Annotated[Finite, Field(ge=0.01, le=100)]


class GenerationArguments(TypedDict, total=False):
    """The keyword arguments of every method that generates. None and absence mean the model's own default.

    How tokens are chosen:

    temperature: divides the logits; 0 is greedy
    top_k: sample among the k most likely tokens (Fan et al. 2018); 0 switches it off
    top_p: among the fewest tokens whose probabilities sum to p (Holtzman et al. 2020); 1 switches it off
    min_p: among tokens at least min_p times as likely as the likeliest (Nguyen et al. 2024); 0 switches it off
    top_h: among the likeliest whose entropy is at most this share of the whole (arXiv 2509.02510)
    typical_p: among the tokens of the most typical surprise (Meister et al. 2022); 1 switches it off
    epsilon_cutoff, eta_cutoff: among tokens above a probability (Hewitt et al. 2022); 0 switches them off
    seed: makes sampling repeatable; row i of a batch draws from its own stream (seed, i)

    What changes the logits before, greedy or not:

    repetition_penalty: of tokens seen in prompt or continuation (CTRL, Keskar et al. 2019, section 4.1); 1 is none
    presence_penalty, frequency_penalty: subtracted of tokens in the continuation, once, and for each time; 0 is none
    encoder_repetition_penalty: above 1 favours the tokens of the context, or of the prompt without an encoder
    no_repeat_ngram_size: no n-gram of this size twice in prompt and continuation; 0 allows all
    encoder_no_repeat_ngram_size: no n-gram of this size of the context, or of the prompt without an encoder
    logit_bias: numbers added to the logits of token ids; minus infinity forbids
    sequence_bias: numbers added to the logit of the token that would complete a sequence of token ids
    bad_words_ids: sequences of token ids that are not completed
    suppress_tokens, begin_suppress_tokens: token ids that are not chosen, and not chosen first
    forced_bos_token_id: the token after the first one, such as the language that a translation begins with
    forced_eos_token_id: the tokens to choose among as the last one that the limit allows
    exponential_decay_length_penalty: (start, factor); the end gets likelier after so many new tokens
    remove_invalid_values: takes logits that are not numbers for 0 instead of failing

    Where a row ends:

    max_new_tokens: at most so many tokens a row; by default until the context is full
    min_new_tokens: no end-of-sequence or stop token before so many new tokens
    min_length: the same, the prompt counted
    ignore_eos: go on behind the model's own end-of-sequence tokens
    stop_tokens: token ids that end a row, beside the model's own end-of-sequence tokens
    stop_strings: texts that end a row; the text is cut before them

    Of a model of speech, such as Whisper: `language`, a name ("german"), a code ("de") or a token ("<|de|>"), by
    default what the model hears; `task`, "transcribe" or "translate".

    logprobs: also return log-probabilities, with so many of the likeliest alternatives (0: the chosen token's only)
    """

    max_new_tokens: int | None
    min_new_tokens: int | None
    min_length: int | None
    ignore_eos: bool | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    top_h: float | None
    typical_p: float | None
    epsilon_cutoff: float | None
    eta_cutoff: float | None
    repetition_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    encoder_repetition_penalty: float | None
    no_repeat_ngram_size: int | None
    encoder_no_repeat_ngram_size: int | None
    logit_bias: Mapping[int, float] | None
    sequence_bias: Mapping[tuple[int, ...], float] | Sequence[tuple[Sequence[int], float]] | None
    bad_words_ids: Sequence[Sequence[int]] | None
    suppress_tokens: Sequence[int] | None
    begin_suppress_tokens: Sequence[int] | None
    forced_bos_token_id: int | None
    forced_eos_token_id: int | Sequence[int] | None
    exponential_decay_length_penalty: tuple[int, float] | None
    remove_invalid_values: bool | None
    seed: int | None
    stop_tokens: Sequence[int] | None
    stop_strings: str | Sequence[str] | None
    language: str | None
    task: str | None
    logprobs: int | None


class GenerationOptions(BaseModel):
    """`GenerationArguments` with every default filled in and every value in its range."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_new_tokens: Annotated[int, Field(ge=1)] | None = None
    min_new_tokens: Annotated[int, Field(ge=0)] | None = None
    min_length: Annotated[int, Field(ge=0)] = 0
    ignore_eos: bool = False
    temperature: Annotated[Finite, Field(ge=0)] = 0.0
    top_k: Annotated[int, Field(ge=0)] = 0
    top_p: Annotated[Finite, Field(gt=0, le=1)] = 1.0
    min_p: Annotated[Finite, Field(ge=0, le=1)] = 0.0
    top_h: Annotated[Finite, Field(gt=0, le=1)] | None = None
    typical_p: Annotated[Finite, Field(gt=0, le=1)] = 1.0
    epsilon_cutoff: Annotated[Finite, Field(ge=0, lt=1)] = 0.0
    eta_cutoff: Annotated[Finite, Field(ge=0, lt=1)] = 0.0
    repetition_penalty: Penalty = 1.0
    presence_penalty: Finite = 0.0
    frequency_penalty: Finite = 0.0
    encoder_repetition_penalty: Penalty = 1.0
    no_repeat_ngram_size: Annotated[int, Field(ge=0)] = 0
    encoder_no_repeat_ngram_size: Annotated[int, Field(ge=0)] = 0
    logit_bias: dict[TokenId, Bias] = {}
    sequence_bias: tuple[tuple[TokenSequence, Bias], ...] = ()
    bad_words_ids: tuple[TokenSequence, ...] = ()
    suppress_tokens: tuple[TokenId, ...] = ()
    begin_suppress_tokens: tuple[TokenId, ...] = ()
    forced_bos_token_id: TokenId | None = None
    forced_eos_token_id: tuple[TokenId, ...] = ()
    exponential_decay_length_penalty: tuple[Annotated[int, Field(ge=0)], Annotated[Finite, Field(gt=0)]] | None = None
    remove_invalid_values: bool = False
    seed: Annotated[int, Field(ge=0)] | None = None
    stop_tokens: tuple[TokenId, ...] = ()
    stop_strings: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    language: str | None = None
    task: str | None = None
    logprobs: Annotated[int, Field(ge=0)] | None = None

    @field_validator("stop_strings", "forced_eos_token_id", mode="before")
    @classmethod
    def _one_is_a_sequence(cls, value: object) -> object:
        return (value,) if isinstance(value, str | int) else value

    @field_validator("sequence_bias", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        return tuple(cast("Mapping[Any, Any]", value).items()) if isinstance(value, Mapping) else value

    def token_ids(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """The token ids that each option names."""
        for name in ("stop_tokens", "suppress_tokens", "begin_suppress_tokens", "forced_eos_token_id"):
            yield name, getattr(self, name)
        yield "forced_bos_token_id", () if self.forced_bos_token_id is None else (self.forced_bos_token_id,)
        yield "bad_words_ids", tuple(token for word in self.bad_words_ids for token in word)
        yield "sequence_bias", tuple(token for sequence, _ in self.sequence_bias for token in sequence)
        yield "logit_bias", tuple(self.logit_bias)

    def contradiction(self) -> str | None:
        """Why no token is left where one is forced, if so."""
        suppressed = set(self.suppress_tokens)
        forced = (() if self.forced_bos_token_id is None else (self.forced_bos_token_id,), self.forced_eos_token_id)
        for name, tokens in zip(("forced_bos_token_id", "forced_eos_token_id"), forced, strict=True):
            if tokens and suppressed.issuperset(tokens):
                return f"every token of {name} is in suppress_tokens: remove it from one of the two"
        return None


SAMPLING = ("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff")
"""The options that only sampling knows; each but the first asks for it."""


def resolve_options(
    defaults: dict[str, Any], arguments: GenerationArguments, sampling: Mapping[str, Any] | None = None
) -> GenerationOptions:
    """`arguments` over `defaults`. Raises OptionValueError.

    A filter given to a model that is greedy by default asks for sampling, as a temperature above 0 does. What the model
    says of `sampling` then holds, and where it says nothing the temperature is 1.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    asks_for_sampling = given.get("temperature") or any(name in given for name in SAMPLING[1:])
    greedy = not defaults.get("temperature")
    merged = defaults | (dict(sampling or {}) if asks_for_sampling and greedy else {}) | given
    if asks_for_sampling and "temperature" not in given and not merged.get("temperature"):
        merged["temperature"] = 1.0
    if "min_length" in given and "min_new_tokens" not in given:
        # Both say how long a row is at least, and that of the prompt alone would hold.
        merged.pop("min_new_tokens", None)
    try:
        options = GenerationOptions.model_validate(merged)
    except ValidationError as error:
        raise OptionValueError(*finding_parts(error, GenerationOptions)) from None
    least, most = given.get("min_new_tokens"), given.get("max_new_tokens")
    if least is not None and most is not None and cast(int, least) > cast(int, most):
        raise GenerationError(f"min_new_tokens is {least}, more than max_new_tokens, {most}")
    problem = options.contradiction()
    if problem is not None:
        raise GenerationError(problem)
    return options
