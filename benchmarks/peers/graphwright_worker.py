"""Graphwright as a measured system: compiles in one process, loads the artifact in another."""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.peers.protocol import Decode, Prefill, serve

if TYPE_CHECKING:
    from graphwright.runtime import Decoder, Model


class GraphwrightWorker:
    """The runtime's own step, beneath `Model.generate`: a cache, a decoder, last-token logits."""

    _model: Model

    def versions(self) -> Mapping[str, str]:
        """Of the project and of ONNX Runtime beneath it."""
        return {name: version(name) for name in ("graphwright", "onnxruntime")}

    def prepare(self, checkpoint: Path, folder: Path, options: Mapping[str, str]) -> Path:
        """Compile the checkpoint for the CPU; the option `quantize` names a scheme."""
        import graphwright

        artifact = folder / "artifact"
        graphwright.compile(checkpoint, output=artifact, quantize=options.get("quantize"))
        return artifact

    def load(self, folder: Path, options: Mapping[str, str]) -> None:
        """Load as a user would: all cores, hashes checked."""
        # Imported here, not above: imports count as loading.
        from graphwright.runtime import load

        self._model = load(folder)

    def prefill(self, prompt: list[int]) -> Prefill:
        """Time one step over the prompt."""
        seconds, next_token = _step(self._decoder(len(prompt)), prompt)
        return Prefill(seconds, next_token)

    def decode(self, prompt: list[int], continuation: list[int]) -> Decode:
        """Time one step for each token of the continuation."""
        decoder = self._decoder(len(prompt) + len(continuation))
        _, next_token = _step(decoder, prompt)
        seconds: list[float] = []
        for token in continuation:
            step, next_token = _step(decoder, [token])
            seconds.append(step)
        return Decode(seconds, next_token)

    def _decoder(self, capacity: int) -> Decoder:
        from graphwright.runtime import Decoder, KVCache

        return Decoder(KVCache(self._model.loaded.session, 1, capacity))


def _step(decoder: Decoder, token_ids: list[int]) -> tuple[float, int]:
    ids = np.array([token_ids], dtype=np.int64)
    length = np.array([len(token_ids)], dtype=np.int64)
    start = time.perf_counter()
    logits = decoder.step(ids, length, length[:, None] - 1)
    decoder.cache.advance(length)
    seconds = time.perf_counter() - start
    return seconds, int(logits[0, -1].argmax())


if __name__ == "__main__":
    serve(GraphwrightWorker)
