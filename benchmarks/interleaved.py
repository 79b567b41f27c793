"""Measures several systems in one run: each once a round, in rotating order, never two at a time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.bandwidth import measured_bandwidth
from benchmarks.peers.process import BenchmarkError, WorkerProcess
from benchmarks.process_tree import PeakMemory

Report = Callable[[str], object]


@dataclass(frozen=True)
class Contestant:
    """How to start a system's worker, and what it loads."""

    start: Callable[[], WorkerProcess]
    folder: Path
    options: dict[str, str] = field(default_factory=dict[str, str])
    exact: bool = True
    """Whether it computes in float32, so that its likeliest tokens must be those of the others."""


@dataclass(frozen=True)
class Workload:
    """What is measured, in tokens; batch size 1."""

    prefill_tokens: int = 512
    decode_context: int = 128
    decode_steps: int = 16
    rounds: int = 7
    startups: int = 3
    seed: int = 0

    def tokens(self, vocabulary_size: int) -> list[int]:
        """Seeded token ids: enough for the prompt, and for a decode's context and steps."""
        count = max(self.prefill_tokens, self.decode_context + self.decode_steps)
        return random.Random(self.seed).choices(range(vocabulary_size), k=count)


@dataclass
class Samples:
    """One system's raw measurements: one entry a round (speeds), or one a fresh process (the rest).

    load_seconds runs from the process's start to the model being ready: interpreter, imports and weights, files cached
    by the system. decode_seconds holds each round's median step.
    """

    load_seconds: list[float] = field(default_factory=list[float])
    prefill_seconds: list[float] = field(default_factory=list[float])
    decode_seconds: list[float] = field(default_factory=list[float])
    peak_memory: list[PeakMemory] = field(default_factory=list[PeakMemory])
    versions: dict[str, str] = field(default_factory=dict[str, str])


@dataclass
class Measurements:
    """All systems' samples for one model, and the bandwidth measured beside them (bytes per second, one a round)."""

    systems: dict[str, Samples]
    bandwidth: list[float] = field(default_factory=list[float])


def measure(
    contestants: Mapping[str, Contestant], vocabulary_size: int, workload: Workload, report: Report
) -> Measurements:
    """Measure the systems, by name, each in processes of its own.

    `report` gets a line before each step. Raises BenchmarkError when a system fails, or when the exact ones do not
    agree on the likeliest next token: then they do not run the same model.
    """
    measurements = Measurements({name: Samples() for name in contestants})
    tokens = workload.tokens(vocabulary_size)
    _measure_startups(contestants, tokens, workload, report, measurements)
    _measure_speed(contestants, tokens, workload, report, measurements)
    return measurements


def _measure_startups(
    contestants: Mapping[str, Contestant],
    tokens: list[int],
    workload: Workload,
    report: Report,
    measurements: Measurements,
) -> None:
    # The first load of all brings the files into the system's cache, so it is not counted.
    for startup in range(workload.startups + 1):
        for name in _rotated(list(contestants), startup):
            report(f"{name}: start {startup} of {workload.startups}")
            contestant = contestants[name]
            began = time.perf_counter()
            with contestant.start() as worker:
                worker.watch_memory()
                worker.load(contestant.folder, contestant.options)
                loaded = time.perf_counter() - began
                worker.prefill(tokens[: workload.prefill_tokens])
                worker.decode(*_decode_tokens(tokens, workload))
                peak = worker.peak_memory()
            if startup > 0:
                measurements.systems[name].load_seconds.append(loaded)
                measurements.systems[name].peak_memory.append(peak)


def _measure_speed(
    contestants: Mapping[str, Contestant],
    tokens: list[int],
    workload: Workload,
    report: Report,
    measurements: Measurements,
) -> None:
    with ExitStack() as stack:
        workers: dict[str, WorkerProcess] = {}
        for name, contestant in contestants.items():
            report(f"{name}: load")
            workers[name] = stack.enter_context(contestant.start())
            measurements.systems[name].versions = workers[name].versions()
            workers[name].load(contestant.folder, contestant.options)
        # Round 0 warms up: allocations, thread pools, page tables.
        for number in range(workload.rounds + 1):
            report(f"round {number} of {workload.rounds}: bandwidth")
            bandwidth = measured_bandwidth()
            next_tokens: dict[str, tuple[int, int]] = {}
            for name in _rotated(list(workers), number):
                report(f"round {number} of {workload.rounds}: {name}")
                prefill = workers[name].prefill(tokens[: workload.prefill_tokens])
                decode = workers[name].decode(*_decode_tokens(tokens, workload))
                workers[name].wait_until_quiet()
                if contestants[name].exact:
                    next_tokens[name] = (prefill.next_token, decode.next_token)
                if number > 0:
                    measurements.systems[name].prefill_seconds.append(prefill.seconds)
                    measurements.systems[name].decode_seconds.append(median(decode.seconds))
            _check_agreement(next_tokens)
            if number > 0:
                measurements.bandwidth.append(bandwidth)


def _decode_tokens(tokens: list[int], workload: Workload) -> tuple[list[int], list[int]]:
    context = workload.decode_context
    return tokens[:context], tokens[context : context + workload.decode_steps]


def _rotated(names: Sequence[str], by: int) -> list[str]:
    turn = by % len(names)
    return [*names[turn:], *names[:turn]]


def _check_agreement(next_tokens: Mapping[str, tuple[int, int]]) -> None:
    if len(set(next_tokens.values())) > 1:
        found = ", ".join(f"{name} {prefill} and {decode}" for name, (prefill, decode) in next_tokens.items())
        raise BenchmarkError(f"the systems do not run the same model: next tokens after prefill and decode are {found}")
