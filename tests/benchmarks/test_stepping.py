from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.peers.protocol import Batch, Decode, Prefill
from benchmarks.peers.stepping import Logits, SteppingWorker


class CountingWorker(SteppingWorker):
    """A row's likeliest token is the number of its tokens so far and of rows before it; each takes a second."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, int]] = []
        self._past = 0

    def versions(self) -> Mapping[str, str]:
        return {}

    def prepare(self, checkpoint: Path, folder: Path, options: Mapping[str, str]) -> Path:
        return checkpoint

    def load(self, folder: Path, options: Mapping[str, str]) -> None: ...

    def begin(self, capacity: int, rows: int) -> None:
        self.begun.append((capacity, rows))
        self._past = 0

    def step(self, tokens: list[list[int]], wanted: int) -> tuple[float, Logits]:
        rows, new = np.array(tokens).shape
        likeliest = self._past + np.arange(1, new + 1, dtype=np.int64)[-wanted:]
        likeliest = likeliest + np.arange(rows, dtype=np.int64)[:, None]
        self._past += new
        return float(rows * new), np.eye(20, dtype=np.float32)[likeliest]


def test_every_measurement_starts_a_sequence_with_the_room_it_needs() -> None:
    worker = CountingWorker()
    assert worker.prefill([0] * 5) == Prefill(5.0, 5)
    assert worker.decode([0] * 3, [0] * 4, 1) == Decode([1.0] * 4, 7)
    assert worker.decode([0] * 3, [0] * 6, 2) == Decode([2.0] * 3, 9)
    logits = np.frombuffer(worker.logits([0] * 4, [0] * 2), dtype=np.float32).reshape(3, 20)
    assert logits.argmax(axis=1).tolist() == [4, 5, 6]
    assert worker.batch([[0] * 3] * 2, [[0] * 4] * 2) == Batch([2.0] * 4, [7, 8])
    assert worker.begun == [(5, 1), (7, 1), (9, 1), (6, 1), (7, 2)]
