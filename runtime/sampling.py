"""From logits to the next token: greedy, or drawn from what processors, temperature and filters leave."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graphwright.runtime.errors import GenerationError, SessionError
from graphwright.runtime.logits import History, Logits, RowFacts, processors
from graphwright.runtime.logits.filters import Tokens, are_simple, filters
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

    The number that draws a token is a function of (seed, row) and the token's place in the row: so a row depends on no
    other, and a program that chooses tokens itself draws the same ones.
    """

    def __init__(self, options: GenerationOptions, facts: RowFacts, prompt: Sequence[int], row: int = 0) -> None:
        self._options = options
        entropy = None if options.seed is None else (options.seed, row)
        self.key = np.random.SeedSequence(entropy).generate_state(2, np.uint64).astype(np.uint64)
        """Of the row's random numbers."""
        self._processors = processors(options, facts)
        self._history = History(prompt)

    @property
    def by_program(self) -> npt.NDArray[np.float32] | None:
        """Temperature, top k, top p and min p (float32 [4]) where a program can choose the tokens by these, and
        `accept` suffices; else None."""
        options = self._options
        if self._processors or options.remove_invalid_values or not are_simple(options):
            return None
        return np.array([_temperature(options), min(options.top_k, 1 << 24), options.top_p, options.min_p], np.float32)

    def accept(self, token: int) -> None:
        """Takes the token that a program chose. Raises SessionError for one below 0: logits are not numbers."""
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
            token = draw(distribution(logits, self._options), number_at(self.key, len(self._history)))
        self._history.append(token)
        return token


def distribution(logits: Logits, options: GenerationOptions) -> Distribution:
    """The distribution that the options leave of `logits` (float32 [V]); the temperature must be above 0."""
    logits = (logits - logits.max()) / _temperature(options)
    tokens = np.arange(logits.size)
    for kept_by in filters(options):
        kept = kept_by(logits)
        tokens, logits = tokens[kept], logits[kept]
    order = np.argsort(tokens)  # not that of the filters which happened to be asked for
    tokens, logits = tokens[order], logits[order]
    weights = np.exp(logits - logits.max())
    return Distribution(tokens, weights.astype(np.float64) / weights.sum(dtype=np.float64))


def number_at(key: npt.NDArray[np.uint64], place: int) -> float:
    """The number in [0, 1) that draws the token at a place of a row: Philox, a counter-based generator.

    Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """
    return float(np.random.Generator(np.random.Philox(key=key, counter=place)).random())


def _temperature(options: GenerationOptions) -> np.float32:
    """Any lower one than 1e-30 leaves only the likeliest as well, and would divide by zero in float32."""
    return np.float32(max(options.temperature, 1e-30) if options.temperature else 0)


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
