"""From logits to the next token: greedy, or drawn from what processors, temperature and filters leave."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graphwright.runtime.errors import GenerationError, SessionError
from graphwright.runtime.logits import History, Logits, RowFacts, processors
from graphwright.runtime.logits.filters import Tokens, filters
from graphwright.runtime.options import GenerationOptions

_BLOCK = 512
NOT_FINITE = "the program produced logits that are not finite; compile the model again and verify it"


@dataclass(frozen=True)
class Distribution:
    """Tokens that may be drawn and their probabilities (float64, sum 1)."""

    tokens: Tokens
    probabilities: npt.NDArray[np.float64]


class Sampler:
    """Chooses the tokens of one row.

    It draws one number a token from a generator seeded by (seed, row), so a row depends on no other.
    """

    def __init__(self, options: GenerationOptions, facts: RowFacts, prompt: Sequence[int], row: int = 0) -> None:
        self._options = options
        self._generator = np.random.default_rng(None if options.seed is None else (options.seed, row))
        self._processors = processors(options, facts)
        self._history = History(prompt)

    @property
    def is_plain(self) -> bool:
        """Whether it takes the likeliest token as it is, for which `accept` suffices."""
        return self._options.temperature == 0 and not self._processors and not self._options.remove_invalid_values

    def accept(self, token: int) -> None:
        """Takes the likeliest token, which is below 0 where logits are not numbers. Raises SessionError there."""
        if token < 0:
            raise SessionError(NOT_FINITE)
        self._history.append(token)

    def choose(self, logits: Logits) -> int:
        """The next token for `logits` (float32 [V]), which are left as they are.

        Raises SessionError when they are not numbers, GenerationError when the options forbid every token.
        """
        # argmax finds the first NaN
        if not self._options.remove_invalid_values and not np.isfinite(logits[logits.argmax()]):
            raise SessionError(NOT_FINITE)
        if self._processors:
            logits = logits.copy()
            for process in self._processors:
                process(logits, self._history)
            if logits.max() == -np.inf:
                raise GenerationError(
                    f"the options forbid every token after {len(self._history)} tokens; allow more, or fewer new tokens"
                )
        if self._options.temperature == 0:
            token = int(logits.argmax())
        else:
            token = draw(distribution(logits, self._options), self._generator.random())
        self._history.append(token)
        return token


def distribution(logits: Logits, options: GenerationOptions) -> Distribution:
    """The distribution that the options leave of `logits` (float32 [V]); the temperature must be above 0."""
    # Any lower temperature leaves only the likeliest as well, and would divide by zero in float32.
    temperature = np.float32(max(options.temperature, 1e-30))
    logits = (logits - logits.max()) / temperature
    tokens = np.arange(logits.size)
    for kept_by in filters(options):
        kept = kept_by(logits)
        tokens, logits = tokens[kept], logits[kept]
    weights = np.exp(logits - logits.max())
    return Distribution(tokens, weights.astype(np.float64) / weights.sum(dtype=np.float64))


def log_normalizer(logits: Logits) -> float:
    """What to subtract from a logit to get its natural log-probability: log(sum(exp(logits)))."""
    greatest = logits.max()
    return float(greatest) + float(np.log(np.exp(logits - greatest).sum(dtype=np.float64)))


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
