"""What a generation returns."""

from dataclasses import dataclass
from typing import Literal

FinishReason = Literal["stop", "stop_string", "length", "cancelled"]
"""`stop`: an end-of-sequence or stop token; `length`: max_new_tokens, or the context is full."""


@dataclass(frozen=True)
class TokenLogProbability:
    """The natural log-probability the model itself gave a token, before penalty and temperature.

    `alternatives` are the likeliest tokens and theirs, likeliest first, as many as were asked for.
    """

    token_id: int
    log_probability: float
    alternatives: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Completion:
    """The continuation of one prompt.

    `token_ids` are all tokens generated, the one that ended the row included. `text` leaves out special tokens, the
    stop token and everything from a stop string on; it is None for a model without a tokenizer. `log_probabilities`
    has one entry a token when they were asked for.
    """

    token_ids: list[int]
    text: str | None
    finish_reason: FinishReason
    log_probabilities: list[TokenLogProbability] | None
