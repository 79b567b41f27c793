"""What is measured of each system, and the raw samples of it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from benchmarks.process_tree import PeakMemory


@dataclass(frozen=True)
class Workload:
    """What is measured, in tokens; of one row but for the steps of a batch, which `rows` of 1 leaves out.

    Steps of several tokens or rows, and memory, are measured at the first of the contexts. Logits are compared after a
    prompt of `logit_context` tokens and after each of `logit_steps` more.
    """

    prefill_tokens: int = 512
    decode_contexts: tuple[int, ...] = (128, 2048, 8192)
    decode_steps: int = 16
    verify_tokens: int = 4
    verify_steps: int = 8
    rows: int = 8
    logit_context: int = 64
    logit_steps: int = 8
    rounds: int = 5
    seed: int = 0

    def within(self, context_length: int) -> Workload:
        """The same for a model of so long a context: decoding that would pass its end stops a token before it.

        Some systems want room for one token more than they are given.
        """
        last = context_length - 1 - self.decode_steps
        return replace(self, decode_contexts=tuple(dict.fromkeys(min(c, last) for c in self.decode_contexts)))

    def row(self, number: int, vocabulary_size: int) -> list[int]:
        """Seeded token ids of one row of a batch: a prompt and what continues it. Row 0 begins as `tokens` does."""
        length = self.decode_contexts[0] + self.decode_steps
        return random.Random(self.seed + number).choices(range(vocabulary_size), k=length)

    def tokens(self, vocabulary_size: int) -> list[int]:
        """Seeded token ids: enough for every prompt and what continues it."""
        longest = max(*self.decode_contexts, self.logit_context)
        steps = max(self.decode_steps, self.verify_tokens * self.verify_steps, self.logit_steps)
        return random.Random(self.seed).choices(range(vocabulary_size), k=max(self.prefill_tokens, longest + steps))


@dataclass
class Samples:
    """One system's raw measurements, one entry a round.

    load_seconds runs from the process's start to the model being ready: interpreter, imports and weights, files cached
    by the system. decode_seconds holds each round's median step, by context; verify_seconds that of several tokens,
    batch_seconds that of several rows, each empty for a system that cannot. compile_seconds is what the build took
    when it was made. `divergence` is the mean over positions of KL(float32 || system), in nats, and None without
    float32 logits to compare with.
    """

    compile_seconds: float = 0.0
    load_seconds: list[float] = field(default_factory=list[float])
    prefill_seconds: list[float] = field(default_factory=list[float])
    decode_seconds: dict[int, list[float]] = field(default_factory=dict[int, list[float]])
    verify_seconds: list[float] = field(default_factory=list[float])
    batch_seconds: list[float] = field(default_factory=list[float])
    peak_memory: list[PeakMemory] = field(default_factory=list[PeakMemory])
    divergence: float | None = None
    versions: dict[str, str] = field(default_factory=dict[str, str])


@dataclass
class Measurements:
    """All systems' samples for one model, and the bandwidth measured beside them (bytes per second, one a round).

    A system that could not be built or measured is among `failures` instead, with the reason in one line.
    """

    systems: dict[str, Samples]
    failures: dict[str, str] = field(default_factory=dict[str, str])
    bandwidth: list[float] = field(default_factory=list[float])
