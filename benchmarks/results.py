"""From raw samples to the figures that are printed: medians, and ratios paired round by round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.measurements import Measurements, Samples, Workload

_AMOUNTS = ("load", "peak memory")


@dataclass(frozen=True)
class Speed:
    """Tokens per second, by the median round; `spread` is half of what the rounds' times range over, as a share."""

    tokens_per_second: float
    spread: float


@dataclass(frozen=True)
class Figures:
    """One system's medians. Memory in bytes, `divergence` in nats.

    - `bandwidth_share`, by context: bytes of weights a token over its time, as a share of measured bandwidth
    - `context_cost`: the time that the longest context adds to a step of the shortest, over the time that reading the
      float32 cache of the tokens between takes; None with one context
    - `verify_cost`: a step of several tokens over a step of one; None for a system that cannot
    - `batch`: tokens of all rows a second; None for a system that cannot
    """

    compile_seconds: float
    load_seconds: float
    prefill: Speed
    decode: Mapping[int, Speed]
    bandwidth_share: Mapping[int, float]
    context_cost: float | None
    verify_cost: float | None
    batch: Speed | None
    peak_resident: float
    peak_anonymous: float
    divergence: float | None


@dataclass(frozen=True)
class BestPeer:
    """The peer that is best at something, and our figure beside its: above 1 is faster, but of memory and loading more.

    The ratio is the median over rounds, so that a slow moment of the machine weighs on both sides.
    """

    name: str
    ratio: float


def figures(
    samples: Samples, measurements: Measurements, workload: Workload, weight_bytes: int, token_cache_bytes: int
) -> Figures:
    """Medians of a system's samples.

    `weight_bytes` are the bytes of weights that one decoded token reads, `token_cache_bytes` those of the float32 cache
    of one token.
    """
    bandwidth = median(measurements.bandwidth)
    steps = {context: median(seconds) for context, seconds in samples.decode_seconds.items()}
    shortest, longest = min(steps), max(steps)
    context_cost = None
    if longest > shortest:
        explained = (longest - shortest) * token_cache_bytes / bandwidth
        context_cost = (steps[longest] - steps[shortest]) / explained
    verify_cost = None
    if samples.verify_seconds:
        verify_cost = _paired(samples.verify_seconds, samples.decode_seconds[workload.decode_contexts[0]])
    return Figures(
        compile_seconds=samples.compile_seconds,
        load_seconds=median(samples.load_seconds),
        prefill=_speed(samples.prefill_seconds, workload.prefill_tokens),
        decode={context: _speed(seconds, 1) for context, seconds in samples.decode_seconds.items()},
        bandwidth_share={context: weight_bytes / seconds / bandwidth for context, seconds in steps.items()},
        context_cost=context_cost,
        verify_cost=verify_cost,
        batch=_speed(samples.batch_seconds, workload.rows) if samples.batch_seconds else None,
        peak_resident=median(peak.resident for peak in samples.peak_memory),
        peak_anonymous=median(peak.anonymous for peak in samples.peak_memory),
        divergence=samples.divergence,
    )


def best_peers(ours: Samples, peers: Mapping[str, Samples]) -> dict[str, BestPeer]:
    """By what is measured, the best of the peers that can do it, and our ratio to it."""
    own = _costs(ours)
    others = {name: _costs(samples) for name, samples in peers.items()}
    found: dict[str, BestPeer] = {}
    for cost, values in own.items():
        medians = {name: median(other[cost]) for name, other in others.items() if cost in other}
        if not medians:
            continue
        name = min(medians, key=medians.__getitem__)
        other = others[name][cost]
        found[cost] = BestPeer(name, _paired(values, other) if cost in _AMOUNTS else _paired(other, values))
    return found


def _costs(samples: Samples) -> dict[str, list[float]]:
    """One number a round of everything that less of is better."""
    decode = {f"decode at {context}": seconds for context, seconds in samples.decode_seconds.items()}
    memory = [float(peak.resident) for peak in samples.peak_memory]
    batch = {"rows at once": samples.batch_seconds} if samples.batch_seconds else {}
    return {"prefill": samples.prefill_seconds, **decode, **batch, "load": samples.load_seconds, "peak memory": memory}


def _speed(seconds: Sequence[float], tokens: int) -> Speed:
    middle = median(seconds)
    return Speed(tokens / middle, (max(seconds) - min(seconds)) / 2 / middle)


def _paired(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    return median(above / below for above, below in zip(numerators, denominators, strict=True))
