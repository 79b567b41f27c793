"""Token ids and biases as words of the command line."""

import math

from graphwright.errors import UsageError


def read_ids(option: str, text: str) -> list[int]:
    """The ids in `1,2,3`, none in an empty text. Raises UsageError, whose message names the option."""
    try:
        return [int(part) for part in text.split(",")] if text.strip() else []
    except ValueError:
        raise UsageError(f"{option} is {text!r}; it must be token ids, such as 13,198") from None


def read_bias(text: str) -> tuple[int, float]:
    """Token and number of `ID=VALUE`. Raises UsageError."""
    token, _, value = text.partition("=")
    try:
        bias = int(token), float(value)
    except ValueError:
        bias = -1, math.nan
    if math.isnan(bias[1]):
        raise UsageError(f"--logit-bias is {text!r}; it must be a token id and a number, such as 13=-2.5")
    return bias
