"""What sampling leaves of a distribution: each filter keeps some of the tokens, and at least the likeliest.

A filter takes the logits of the tokens that are left, after temperature (float32 [n]), and returns the indices of those
that it keeps. The order is that of Hugging Face transformers, so equal options mean the same distribution.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from graphwright.runtime.logits.history import Logits
from graphwright.runtime.options import GenerationOptions

Tokens = npt.NDArray[np.int64]
Filter = Callable[[Logits], Tokens]

_FIRST_CANDIDATES = 512
_TOP_H_CANDIDATES = 100


def filters(options: GenerationOptions) -> Iterator[Filter]:
    """Those that the options ask for, in order."""
    if options.top_h is not None:
        yield lambda logits: top_h(logits, options.top_h or 1)
    if options.top_k:
        yield lambda logits: likeliest_tokens(logits, options.top_k)
    if options.top_p < 1:
        yield lambda logits: top_p(logits, options.top_p)
    if options.min_p > 0:
        yield lambda logits: min_p(logits, options.min_p)
    if options.typical_p < 1:
        yield lambda logits: typical_p(logits, options.typical_p)
    if options.epsilon_cutoff > 0:
        yield lambda logits: epsilon_cutoff(logits, options.epsilon_cutoff)
    if options.eta_cutoff > 0:
        yield lambda logits: eta_cutoff(logits, options.eta_cutoff)


def are_simple(options: GenerationOptions) -> bool:
    """Whether the options ask for no filters but top k, top p and min p: those that a program on a GPU has."""
    others = options.top_h is not None, options.typical_p < 1, options.epsilon_cutoff > 0, options.eta_cutoff > 0
    return not any(others)


def likeliest_tokens(logits: Logits, count: int) -> Tokens:
    """The `count` tokens of greatest logit, likeliest first, the lower id first among equals; all if there are less."""
    if count == 0:
        return np.empty(0, dtype=np.int64)
    chosen = np.arange(logits.size)
    if count < logits.size:
        threshold = np.partition(logits, logits.size - count)[logits.size - count]
        above = np.flatnonzero(logits > threshold)
        equal = np.flatnonzero(logits == threshold)[: count - above.size]
        chosen = np.sort(np.concatenate((above, equal)))
    return chosen[np.argsort(-logits[chosen], kind="stable")]


def top_p(logits: Logits, mass: float) -> Tokens:
    """The fewest tokens whose probabilities sum to `mass`, likeliest first (Holtzman et al. 2020)."""
    weights = np.exp(logits - logits.max())
    # In float32, as programs take it.
    needed = float(np.float32(mass)) * weights.sum(dtype=np.float64)
    head = _FIRST_CANDIDATES
    while True:
        # Sorting a whole vocabulary costs milliseconds a token; a few hundred nearly always hold the mass.
        order = likeliest_tokens(logits, min(head, weights.size))
        cumulative = np.cumsum(weights[order], dtype=np.float64)
        if order.size == weights.size or cumulative[-1] >= needed:
            return order[: np.count_nonzero(cumulative < needed) + 1]
        head *= 8


def min_p(logits: Logits, share: float) -> Tokens:
    """Tokens at least `share` times as likely as the likeliest (Nguyen et al. 2024)."""
    return np.flatnonzero(np.exp(logits - logits.max()) >= share)


def top_h(logits: Logits, share: float) -> Tokens:
    """Of the 100 likeliest, the first whose terms of the entropy sum to at most `share` of it (arXiv 2509.02510).

    The hundred are renormalized.
    """
    order = likeliest_tokens(logits, _TOP_H_CANDIDATES)
    terms = _entropy_terms(_log_probabilities(logits[order]))
    kept = np.cumsum(terms) <= share * terms.sum()
    kept[0] = True
    return order[kept]


def typical_p(logits: Logits, mass: float) -> Tokens:
    """The tokens whose surprise is nearest to the entropy, as many as hold `mass` (Meister et al. 2022)."""
    log_probabilities = _log_probabilities(logits)
    distance = np.abs(-log_probabilities - _entropy_terms(log_probabilities).sum())
    order = np.argsort(distance, kind="stable")
    cumulative = np.cumsum(np.exp(log_probabilities[order]))
    last = min(int(np.count_nonzero(cumulative < mass)), order.size - 1)
    return np.flatnonzero(distance <= distance[order[last]])


def epsilon_cutoff(logits: Logits, least: float) -> Tokens:
    """Tokens of a probability of at least `least` (Hewitt et al. 2022)."""
    log_probabilities = _log_probabilities(logits)
    return np.flatnonzero((np.exp(log_probabilities) >= least) | (logits == logits.max()))


def eta_cutoff(logits: Logits, epsilon: float) -> Tokens:
    """Tokens of a probability of at least min(ε, √ε · exp(-entropy)) (Hewitt et al. 2022)."""
    entropy = _entropy_terms(_log_probabilities(logits)).sum()
    return epsilon_cutoff(logits, min(epsilon, float(np.sqrt(epsilon) * np.exp(-entropy))))


def _log_probabilities(logits: Logits) -> npt.NDArray[np.float64]:
    shifted = (logits - logits.max()).astype(np.float64)
    return shifted - np.log(np.exp(shifted).sum())


def _entropy_terms(log_probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """-p log p, 0 where p is 0."""
    probabilities = np.exp(log_probabilities)
    return np.where(probabilities > 0, -probabilities * np.where(probabilities > 0, log_probabilities, 0), 0)
