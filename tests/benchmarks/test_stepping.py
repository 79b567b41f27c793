from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.peers.protocol import Decode, Prefill
from benchmarks.peers.stepping import Logits, SteppingWorker


class CountingWorker(SteppingWorker):
    """Its likeliest token is the number of tokens so far; a step takes a second for each of its tokens."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self._past = 0

    def versions(self) -> Mapping[str, str]:
        return {}

    def prepare(self, checkpoint: Path, folder: Path, options: Mapping[str, str]) -> Path:
        return checkpoint

    def load(self, folder: Path, options: Mapping[str, str]) -> None: ...

    def begin(self, capacity: int) -> None:
        self.begun.append(capacity)
        self._past = 0

    def step(self, tokens: list[int], wanted: int) -> tuple[float, Logits]:
        positions = self._past + np.arange(1, len(tokens) + 1)
        self._past += len(tokens)
        return float(len(tokens)), np.eye(20, dtype=np.float32)[positions[-wanted:]]


def test_every_measurement_starts_a_sequence_with_the_room_it_needs() -> None:
    worker = CountingWorker()
    assert worker.prefill([0] * 5) == Prefill(5.0, 5)
    assert worker.decode([0] * 3, [0] * 4, 1) == Decode([1.0] * 4, 7)
    assert worker.decode([0] * 3, [0] * 6, 2) == Decode([2.0] * 3, 9)
    logits = np.frombuffer(worker.logits([0] * 4, [0] * 2), dtype=np.float32).reshape(3, 20)
    assert logits.argmax(axis=1).tolist() == [4, 5, 6]
    assert worker.begun == [5, 7, 9, 6]
