"""onnxruntime-genai as a measured system; runs in `.peers/genai`."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.peers.protocol import serve
from benchmarks.peers.stepping import Logits, SteppingWorker


class GenaiWorker(SteppingWorker):
    """A folder of genai's own model builder, run through its Python interface."""

    # The package exists in the peer's environment only, and has no types.
    _genai: Any
    _model: Any
    _generator: Any

    def versions(self) -> Mapping[str, str]:
        """Of the runtime, of ONNX Runtime beneath it and of the builder's PyTorch."""
        return {name: version(name) for name in ("onnxruntime-genai", "onnxruntime", "transformers", "torch")}

    def prepare(self, checkpoint: Path, folder: Path, options: Mapping[str, str]) -> Path:
        """Run the model builder for the CPU: the option `precision`, by default float32, and its extra options."""
        precision = options.get("precision", "fp32")
        extra = {"hf_token": "false", **{key: value for key, value in options.items() if key != "precision"}}
        extra_options = [f"{key}={value}" for key, value in extra.items()]
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
        command += ["-i", str(checkpoint), "-o", str(folder), "-p", precision, "-e", "cpu"]
        command += ["-c", str(folder / "cache"), "--extra_options", *extra_options]
        subprocess.run(command, check=True)
        return folder

    def load(self, folder: Path, options: Mapping[str, str]) -> None:
        """Load with one thread for every core: genai's own default is half of them."""
        self._genai = importlib.import_module("onnxruntime_genai")
        config = self._genai.Config(str(folder))
        cores = len(os.sched_getaffinity(0))
        overlay = {"model": {"decoder": {"session_options": {"intra_op_num_threads": cores}}}}
        config.overlay(json.dumps(overlay))
        self._model = self._genai.Model(config)

    def begin(self, capacity: int, rows: int) -> None:
        """A generator of its own; one token more than asked, as a full one refuses to go on. One row only."""
        if rows != 1:
            raise ValueError("of several rows genai takes the prompt alone, and goes on by its own sampling")
        # The cache is allocated for max_length; left alone it would be the model's whole context.
        parameters = self._genai.GeneratorParams(self._model)
        parameters.set_search_options(max_length=capacity + 1, do_sample=False)
        self._generator = self._genai.Generator(self._model, parameters)

    def step(self, tokens: list[list[int]], wanted: int) -> tuple[float, Logits]:
        """Time `append_tokens`, which runs the model; nothing is sampled."""
        start = time.perf_counter()
        self._generator.append_tokens(tokens[0])
        seconds = time.perf_counter() - start
        return seconds, self._generator.get_logits()[:, -wanted:]


if __name__ == "__main__":
    serve(GenaiWorker)
