"""From logits to the next token: greedy, or drawn after penalty, temperature, top-k, top-p and min-p.

The order is that of Hugging Face transformers, so equal options mean the same distribution.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graphwright.runtime.errors import SessionError
from graphwright.runtime.options import GenerationOptions

Logits = npt.NDArray[np.float32]
Tokens = npt.NDArray[np.int64]

_FIRST_CANDIDATES = 512
_BLOCK = 512


@dataclass(frozen=True)
class Distribution:
    """Tokens that may be drawn and their probabilities (float64, sum 1)."""

    tokens: Tokens
    probabilities: npt.NDArray[np.float64]


class Sampler:
    """Chooses the tokens of one row.

    It draws one number a token from a generator seeded by (seed, row), so a row depends on no other. `prompt` feeds
    the repetition penalty.
    """

    def __init__(self, options: GenerationOptions, vocabulary_size: int, prompt: list[int], row: int = 0) -> None:
        self._options = options
        self._generator = np.random.default_rng(None if options.seed is None else (options.seed, row))
        self._seen = np.zeros(vocabulary_size, dtype=np.bool_) if options.repetition_penalty != 1 else None
        if self._seen is not None:
            self._seen[prompt] = True

    def choose(self, logits: Logits) -> int:
        """The next token for `logits` (float32 [V]). Raises SessionError when they are not numbers."""
        likeliest = logits[logits.argmax()]
        if not np.isfinite(likeliest):  # argmax finds the first NaN
            raise SessionError("the program produced logits that are not finite; compile the model again and verify it")
        if self._seen is not None:
            logits = penalize(logits, self._seen, self._options.repetition_penalty)
        if self._options.temperature == 0:
            token = int(logits.argmax())
        else:
            candidates = distribution(logits, self._options)
            token = draw(candidates, self._generator.random())
        if self._seen is not None:
            self._seen[token] = True
        return token


def penalize(logits: Logits, seen: npt.NDArray[np.bool_], penalty: float) -> Logits:
    """Logits with those of `seen` tokens divided by `penalty`, or multiplied where negative.

    CTRL (Keskar et al. 2019, section 4.1) divides all; dividing a negative logit would reward it, so it is
    multiplied, as Hugging Face does.
    """
    tokens = np.flatnonzero(seen)
    chosen = logits[tokens]
    penalized = logits.copy()
    penalized[tokens] = np.where(chosen > 0, chosen / np.float32(penalty), chosen * np.float32(penalty))
    return penalized


def distribution(logits: Logits, options: GenerationOptions) -> Distribution:
    """The distribution that the options leave of `logits` (float32 [V]); the temperature must be above 0."""
    tokens = np.arange(logits.size)
    if 0 < options.top_k < logits.size:
        tokens = likeliest_tokens(logits, options.top_k)
        logits = logits[tokens]
    # Any lower temperature leaves only the likeliest as well, and would divide by zero in float32.
    temperature = np.float32(max(options.temperature, 1e-30))
    weights = np.exp((logits - logits.max()) / temperature)
    if options.top_p < 1:
        nucleus = _nucleus(weights, options.top_p)
        tokens, weights = tokens[nucleus], weights[nucleus]
    if options.min_p > 0:
        keep = weights >= options.min_p * weights.max()
        tokens, weights = tokens[keep], weights[keep]
    return Distribution(tokens, weights.astype(np.float64) / weights.sum(dtype=np.float64))


def log_normalizer(logits: Logits) -> float:
    """What to subtract from a logit to get its natural log-probability: log(sum(exp(logits)))."""
    greatest = logits.max()
    return float(greatest) + float(np.log(np.exp(logits - greatest).sum(dtype=np.float64)))


def likeliest_tokens(logits: Logits, count: int) -> Tokens:
    """The `count` tokens of greatest logit, likeliest first, the lower id first among equals."""
    if count == 0:
        return np.empty(0, dtype=np.int64)
    chosen = np.arange(logits.size)
    if count < logits.size:
        threshold = np.partition(logits, logits.size - count)[logits.size - count]
        above = np.flatnonzero(logits > threshold)
        equal = np.flatnonzero(logits == threshold)[: count - above.size]
        chosen = np.sort(np.concatenate((above, equal)))
    return chosen[np.argsort(-logits[chosen], kind="stable")]


def _nucleus(weights: Logits, top_p: float) -> Tokens:
    """Indices of the fewest weights that hold `top_p` of the sum, greatest first."""
    needed = top_p * weights.sum(dtype=np.float64)
    head = _FIRST_CANDIDATES
    while True:
        # Sorting a whole vocabulary costs milliseconds a token; a few hundred nearly always hold the mass.
        order = likeliest_tokens(weights, min(head, weights.size))
        cumulative = np.cumsum(weights[order], dtype=np.float64)
        if order.size == weights.size or cumulative[-1] >= needed:
            return order[: np.count_nonzero(cumulative < needed) + 1]
        head *= 8


def draw(candidates: Distribution, uniform: float) -> int:
    """Inverse transform: the first candidate whose cumulative probability exceeds `uniform`, in [0, 1)."""
    weights = candidates.probabilities
    # A running sum over a whole vocabulary costs milliseconds, so it first runs over sums of blocks.
    starts = np.arange(0, weights.size, _BLOCK)
    sums = np.add.reduceat(weights, starts)
    block, rest = _locate(sums, uniform * float(sums.sum()))
    index, _ = _locate(weights[starts[block] : starts[block] + _BLOCK], rest)
    return int(candidates.tokens[starts[block] + index])


def _locate(weights: npt.NDArray[np.float64], target: float) -> tuple[int, float]:
    """The first index whose running sum exceeds `target`, never one of weight 0, and how far into it the target is."""
    running = np.cumsum(weights)
    # Rounding may carry the target up to the total, or just below a weight's beginning.
    index = int(min(np.count_nonzero(running <= target), np.count_nonzero(running < running[-1])))
    return index, max(0.0, target - float(running[index] - weights[index]))
