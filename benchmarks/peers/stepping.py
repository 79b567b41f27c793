"""What the measured systems have in common: a cache, and steps over tokens that continue it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.protocol import Decode, Prefill

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
    def begin(self, capacity: int) -> None:
        """Start an empty sequence with room for `capacity` tokens."""

    @abstractmethod
    def step(self, tokens: list[int], wanted: int) -> tuple[float, Logits]:
        """Continue the sequence: seconds of the computation alone, and logits of the last `wanted` tokens.

        The logits are float32 [wanted, V] and may be overwritten by the next step.
        """

    def prefill(self, prompt: list[int]) -> Prefill:
        """Time one step over the prompt."""
        self.begin(len(prompt))
        seconds, logits = self.step(prompt, 1)
        return Prefill(seconds, _likeliest(logits))

    def decode(self, prompt: list[int], continuation: list[int], tokens_at_once: int) -> Decode:
        """Time steps of `tokens_at_once` tokens, after an untimed one over the prompt."""
        self.begin(len(prompt) + len(continuation))
        _, logits = self.step(prompt, 1)
        seconds: list[float] = []
        for start in range(0, len(continuation), tokens_at_once):
            tokens = continuation[start : start + tokens_at_once]
            step, logits = self.step(tokens, len(tokens))
            seconds.append(step)
        return Decode(seconds, _likeliest(logits))

    def logits(self, prompt: list[int], continuation: list[int]) -> bytes:
        """One row after the prompt and after each token of the continuation."""
        self.begin(len(prompt) + len(continuation))
        rows = [self.step(prompt, 1)[1].tobytes()]
        rows += [self.step([token], 1)[1].tobytes() for token in continuation]
        return b"".join(rows)


def _likeliest(logits: Logits) -> int:
    return int(logits[-1].argmax())
