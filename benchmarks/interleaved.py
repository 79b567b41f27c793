"""Measures several systems in one run: each once a round, in rotating order, never two processes at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from benchmarks.bandwidth import measured_bandwidth
from benchmarks.divergence import mean_divergence
from benchmarks.file_cache import warm
from benchmarks.measurements import Measurements, Samples, Workload
from benchmarks.peers.process import BenchmarkError, WorkerProcess

Report = Callable[[str], object]


@dataclass(frozen=True)
class Contestant:
    """How to start a system's worker, and what it loads."""

    start: Callable[[], WorkerProcess]
    folder: Path
    options: dict[str, str] = field(default_factory=dict[str, str])
    exact: bool = True
    """Whether it computes in float32, so that its likeliest tokens must be those of the others."""
    verifies: bool = True
    """Whether a step of several tokens computes the logits of each."""
    batches: bool = True
    """Whether it takes several rows."""
    compile_seconds: float = 0.0


def measure(
    contestants: Mapping[str, Contestant], vocabulary_size: int, workload: Workload, report: Report
) -> Measurements:
    """Measure the systems, by name, each in a fresh process in every round.

    `report` gets a line before each step. A system that fails, or is exact and does not find the likeliest tokens of
    the first exact one (then it does not run the same model), goes to the failures, and the others go on.
    """
    rounds = _Rounds(contestants, vocabulary_size, workload, report)
    for number in range(workload.rounds):
        report(f"round {number + 1} of {workload.rounds}: bandwidth")
        rounds.measurements.bandwidth.append(measured_bandwidth())
        for name in _rotated(list(contestants), number):
            if name in rounds.measurements.systems:
                report(f"round {number + 1} of {workload.rounds}: {name}")
                rounds.take_turn(name)
    rounds.compare_logits()
    return rounds.measurements


class _Rounds:
    """What the turns of one run collect."""

    def __init__(
        self, contestants: Mapping[str, Contestant], vocabulary_size: int, workload: Workload, report: Report
    ) -> None:
        self._contestants = contestants
        self._tokens = workload.tokens(vocabulary_size)
        self._rows = [workload.row(number, vocabulary_size) for number in range(workload.rows)]
        self._workload = workload
        self._report = report
        self._logits: dict[str, NDArray[np.float32]] = {}
        self._likeliest: dict[str, int | list[int]] = {}
        self._judge = ""
        self.measurements = Measurements(
            {name: Samples(compile_seconds=c.compile_seconds) for name, c in contestants.items()}
        )

    def take_turn(self, name: str) -> None:
        """One round of one system, in a process of its own; a failure ends its part in the run."""
        try:
            self._measure(name, self._contestants[name], self.measurements.systems[name])
        except BenchmarkError as error:
            del self.measurements.systems[name]
            self._logits.pop(name, None)
            self.measurements.failures[name] = str(error)
            self._report(str(error))

    def compare_logits(self) -> None:
        """Every system's divergence from the first exact one."""
        exact = [name for name in self._logits if self._contestants[name].exact]
        for name, logits in self._logits.items():
            if exact:
                self.measurements.systems[name].divergence = mean_divergence(self._logits[exact[0]], logits)

    def _measure(self, name: str, contestant: Contestant, samples: Samples) -> None:
        workload = self._workload
        prompt = self._tokens[: workload.prefill_tokens]
        warm(contestant.folder)
        began = time.perf_counter()
        with contestant.start() as worker:
            worker.watch_memory()
            worker.load(contestant.folder, contestant.options)
            loaded = time.perf_counter() - began
            # The first pass warms up: allocations, thread pools, page tables.
            worker.prefill(prompt)
            prefill = worker.prefill(prompt)
            likeliest: dict[str, int | list[int]] = {"prefill": prefill.next_token}
            decode_seconds: dict[int, float] = {}
            first, *others = workload.decode_contexts
            decode_seconds[first] = self._decode(worker, first, likeliest)
            verify_seconds = self._verify(worker, likeliest) if contestant.verifies else None
            # More rows and longer contexts would hide what one row takes at the first.
            peak = worker.peak_memory()
            batch_seconds = None
            if contestant.batches and workload.rows > 1:
                batch_seconds = self._batch(worker, likeliest)
            for context in others:
                decode_seconds[context] = self._decode(worker, context, likeliest)
            if name not in self._logits:
                samples.versions = worker.versions()
                self._logits[name] = worker.logits(*self._cut(workload.logit_context, workload.logit_steps))
            worker.wait_until_quiet()
        if contestant.exact:
            self._check_agreement(name, likeliest)
        samples.load_seconds.append(loaded)
        samples.prefill_seconds.append(prefill.seconds)
        samples.peak_memory.append(peak)
        for context, seconds in decode_seconds.items():
            samples.decode_seconds.setdefault(context, []).append(seconds)
        if verify_seconds is not None:
            samples.verify_seconds.append(verify_seconds)
        if batch_seconds is not None:
            samples.batch_seconds.append(batch_seconds)

    def _decode(self, worker: WorkerProcess, context: int, likeliest: dict[str, int | list[int]]) -> float:
        decode = worker.decode(*self._cut(context, self._workload.decode_steps))
        likeliest[f"decode at {context}"] = decode.next_token
        return median(decode.seconds)

    def _batch(self, worker: WorkerProcess, likeliest: dict[str, int | list[int]]) -> float:
        context = self._workload.decode_contexts[0]
        batch = worker.batch([row[:context] for row in self._rows], [row[context:] for row in self._rows])
        likeliest[f"{len(self._rows)} rows"] = batch.next_tokens
        return median(batch.seconds)

    def _verify(self, worker: WorkerProcess, likeliest: dict[str, int | list[int]]) -> float:
        workload = self._workload
        tokens = workload.verify_tokens * workload.verify_steps
        verify = worker.decode(*self._cut(workload.decode_contexts[0], tokens), workload.verify_tokens)
        likeliest[f"{workload.verify_tokens} at once"] = verify.next_token
        return median(verify.seconds)

    def _cut(self, context: int, steps: int) -> tuple[list[int], list[int]]:
        return self._tokens[:context], self._tokens[context : context + steps]

    def _check_agreement(self, name: str, likeliest: Mapping[str, int | list[int]]) -> None:
        if not self._likeliest:
            self._judge = name
        for key, token in likeliest.items():
            expected = self._likeliest.setdefault(key, token)
            if token != expected:
                raise BenchmarkError(
                    f"{name}: does not run the same model: after {key} its likeliest token is {token}, "
                    f"that of {self._judge} is {expected}"
                )


def _rotated(names: Sequence[str], by: int) -> list[str]:
    turn = by % max(1, len(names))
    return [*names[turn:], *names[:turn]]
