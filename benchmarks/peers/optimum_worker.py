"""optimum-onnx as a measured system, by its own exporter; runs in `.peers/optimum`."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.peers.protocol import serve
from benchmarks.peers.stepping import Logits, SteppingWorker


class OptimumWorker(SteppingWorker):
    """`ORTModelForCausalLM`: a cache that grows by copying, logits of every token."""

    # The packages exist in the peer's environment only.
    _torch: Any
    _model: Any
    _cache: Any
    _past: int

    def versions(self) -> Mapping[str, str]:
        """Of the library, of ONNX Runtime beneath it and of the exporter's PyTorch."""
        return {name: version(name) for name in ("optimum-onnx", "onnxruntime", "transformers", "torch")}

    def prepare(self, checkpoint: Path, folder: Path, options: Mapping[str, str]) -> Path:
        """Export to ONNX in float32."""
        model = importlib.import_module("optimum.onnxruntime").ORTModelForCausalLM
        model.from_pretrained(str(checkpoint), export=True).save_pretrained(str(folder))
        return folder

    def load(self, folder: Path, options: Mapping[str, str]) -> None:
        """Load with a thread for every core."""
        self._torch = importlib.import_module("torch")
        cores = len(os.sched_getaffinity(0))
        self._torch.set_num_threads(cores)
        settings = importlib.import_module("onnxruntime").SessionOptions()
        settings.intra_op_num_threads = cores
        library = importlib.import_module("optimum.onnxruntime")
        self._model = library.ORTModelForCausalLM.from_pretrained(str(folder), session_options=settings)

    def begin(self, capacity: int, rows: int) -> None:
        """No cache yet: it grows with each step."""
        self._cache = None
        self._past = 0

    def step(self, tokens: list[list[int]], wanted: int) -> tuple[float, Logits]:
        """Time one forward pass."""
        input_ids = self._torch.tensor(tokens)
        attention_mask = self._torch.ones((len(tokens), self._past + len(tokens[0])), dtype=self._torch.int64)
        start = time.perf_counter()
        output = self._model(input_ids=input_ids, attention_mask=attention_mask, past_key_values=self._cache)
        seconds = time.perf_counter() - start
        self._cache = output.past_key_values
        self._past += len(tokens[0])
        return seconds, output.logits[:, -wanted:].numpy()


if __name__ == "__main__":
    serve(OptimumWorker)
