"""From raw samples to the figures that are printed: medians, and ratios paired round by round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.interleaved import Measurements, Samples, Workload


@dataclass(frozen=True)
class Figures:
    """One system's medians. Speeds in tokens per second, memory in bytes; the share is of measured bandwidth."""

    load_seconds: float
    prefill_speed: float
    decode_speed: float
    bandwidth_share: float
    peak_resident: float
    peak_anonymous: float


@dataclass(frozen=True)
class Ratios:
    """A system against a peer. Speeds: above 1 is faster than the peer; load and memory: below 1 is less than it."""

    prefill_speed: float
    decode_speed: float
    load_seconds: float
    peak_resident: float
    peak_anonymous: float


def figures(samples: Samples, measurements: Measurements, workload: Workload, weight_bytes: int) -> Figures:
    """Medians of a system's samples; `weight_bytes` are the bytes of weights that one decoded token reads."""
    decode_seconds = median(samples.decode_seconds)
    return Figures(
        load_seconds=median(samples.load_seconds),
        prefill_speed=workload.prefill_tokens / median(samples.prefill_seconds),
        decode_speed=1 / decode_seconds,
        bandwidth_share=weight_bytes / decode_seconds / median(measurements.bandwidth),
        peak_resident=median(peak.resident for peak in samples.peak_memory),
        peak_anonymous=median(peak.anonymous for peak in samples.peak_memory),
    )


def ratios(ours: Samples, peer: Samples) -> Ratios:
    """Medians of the ratios of each round, so that a slow moment of the machine weighs on both sides."""
    return Ratios(
        prefill_speed=_paired(peer.prefill_seconds, ours.prefill_seconds),
        decode_speed=_paired(peer.decode_seconds, ours.decode_seconds),
        load_seconds=_paired(ours.load_seconds, peer.load_seconds),
        peak_resident=_paired([p.resident for p in ours.peak_memory], [p.resident for p in peer.peak_memory]),
        peak_anonymous=_paired([p.anonymous for p in ours.peak_memory], [p.anonymous for p in peer.peak_memory]),
    )


def _paired(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    return median(above / below for above, below in zip(numerators, denominators, strict=True))
