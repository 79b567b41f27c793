"""Graphwright as a measured system: compiles in one process, loads the artifact in another."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.peers.protocol import serve
from benchmarks.peers.stepping import Logits, SteppingWorker

if TYPE_CHECKING:
    from graphwright.runtime import Decoder, Model


CALIBRATION = 2, 128
"""Rows and tokens."""


class GraphwrightWorker(SteppingWorker):
    """The runtime's own step, beneath `Model.generate`: a cache, a decoder, the logits that are wanted."""

    _model: Model
    _decoder: Decoder

    def versions(self) -> Mapping[str, str]:
        """Of the project and of what its backends rest on."""
        return {name: version(name) for name in ("graphwright", "onnxruntime", "apache-tvm")}

    def prepare(self, checkpoint: Path, folder: Path, options: Mapping[str, str]) -> Path:
        """Compile the checkpoint for the CPU by options that are named as those of `graphwright.compile`.

        Scales of a cache are found on random tokens, as the weights are random too.
        """
        import graphwright

        artifact, calibration = folder / "artifact", None
        backend, scheme = options.get("backend", "onnx"), options.get("quantize")
        if scheme == "kv8":
            vocabulary = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))["vocab_size"]
            calibration = folder / "calibration.npy"
            np.save(calibration, np.random.default_rng(0).integers(0, vocabulary, CALIBRATION))
        graphwright.compile(
            checkpoint,
            output=artifact,
            backend=backend,
            dtype=options.get("dtype"),
            quantize=scheme,
            calibration=calibration,
        )
        return artifact

    def load(self, folder: Path, options: Mapping[str, str]) -> None:
        """Load as a user would: all cores, hashes checked."""
        # Imported here, not above: imports count as loading.
        from graphwright.runtime import load

        self._model = load(folder)

    def begin(self, capacity: int, rows: int) -> None:
        """A cache of its own size, and a decoder over it."""
        from graphwright.runtime import Decoder, KVCache

        self._decoder = Decoder(KVCache(self._model.loaded.session, rows, capacity))

    def step(self, tokens: list[list[int]], wanted: int) -> tuple[float, Logits]:
        """Time the decoder's step and the cache's advance over it."""
        ids = np.array(tokens, dtype=np.int64)
        rows, new = ids.shape
        length = np.full(rows, new)
        positions = np.tile(np.arange(new - wanted, new, dtype=np.int64), (rows, 1))
        start = time.perf_counter()
        logits = self._decoder.step(ids, length, positions)
        self._decoder.cache.advance(length)
        return time.perf_counter() - start, logits


if __name__ == "__main__":
    serve(GraphwrightWorker)
