"""What the measured systems have in common: caches, and steps over tokens that continue them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.protocol import Batch, Decode, Prefill

Logits = NDArray[np.float32]


class SteppingWorker(ABC):
    """A `Worker` of the protocol, made of `begin` and `step`."""

    @abstractmethod
    def versions(self) -> Mapping[str, str]:
        """Versions of the libraries that are measured."""

    @abstractmethod
    def prepare(self, checkpoint: Path, folder: Path, options: Mapping[str, str]) -> Path:
        """As in `Worker`."""

    @abstractmethod
    def load(self, folder: Path, options: Mapping[str, str]) -> None:
        """As in `Worker`."""

    @abstractmethod
    def begin(self, capacity: int, rows: int) -> None:
        """Start so many empty sequences with room for `capacity` tokens each."""

    @abstractmethod
    def step(self, tokens: list[list[int]], wanted: int) -> tuple[float, Logits]:
        """Continue each sequence by as many tokens: seconds of the computation, logits of each one's last `wanted`.

        The logits are float32 [rows, wanted, V] and may be overwritten by the next step.
        """

    def prefill(self, prompt: list[int]) -> Prefill:
        """Time one step over the prompt."""
        self.begin(len(prompt), 1)
        seconds, logits = self.step([prompt], 1)
        return Prefill(seconds, _likeliest(logits)[0])

    def decode(self, prompt: list[int], continuation: list[int], tokens_at_once: int) -> Decode:
        """Time steps of `tokens_at_once` tokens, after an untimed one over the prompt."""
        batch = self._steps([prompt], [continuation], tokens_at_once)
        return Decode(batch.seconds, batch.next_tokens[0])

    def batch(self, prompts: list[list[int]], continuations: list[list[int]]) -> Batch:
        """Time steps of one token of every row, after an untimed one over the prompts."""
        return self._steps(prompts, continuations, 1)

    def logits(self, prompt: list[int], continuation: list[int]) -> bytes:
        """One row after the prompt and after each token of the continuation."""
        self.begin(len(prompt) + len(continuation), 1)
        rows = [self.step([prompt], 1)[1].tobytes()]
        rows += [self.step([[token]], 1)[1].tobytes() for token in continuation]
        return b"".join(rows)

    def _steps(self, prompts: list[list[int]], continuations: list[list[int]], tokens_at_once: int) -> Batch:
        self.begin(len(prompts[0]) + len(continuations[0]), len(prompts))
        _, logits = self.step(prompts, 1)
        seconds: list[float] = []
        for start in range(0, len(continuations[0]), tokens_at_once):
            tokens = [row[start : start + tokens_at_once] for row in continuations]
            step, logits = self.step(tokens, len(tokens[0]))
            seconds.append(step)
        return Batch(seconds, _likeliest(logits))


def _likeliest(logits: Logits) -> list[int]:
    return [int(token) for token in logits[:, -1].argmax(axis=-1)]
