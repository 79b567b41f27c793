"""Hugging Face transformers, eager, as a measured system; runs in Graphwright's own environment (extra `hf`)."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.peers.protocol import Decode, Prefill, serve


class TransformersWorker:
    """`AutoModelForCausalLM` with scaled-dot-product attention and last-token logits."""

    # Both are untyped where they are used here.
    _torch: Any
    _transformers: Any
    _model: Any
    _static_cache: bool

    def versions(self) -> Mapping[str, str]:
        """Of the library and of PyTorch beneath it."""
        return {name: version(name) for name in ("transformers", "torch")}

    def prepare(self, checkpoint: Path, folder: Path, options: Mapping[str, str]) -> Path:
        """Nothing to build: checkpoints are loaded as they are."""
        return checkpoint

    def load(self, folder: Path, options: Mapping[str, str]) -> None:
        """Load the checkpoint in float32, with a thread for every core; `cache=static` allocates the cache ahead."""
        self._static_cache = options.get("cache") == "static"
        self._torch = importlib.import_module("torch")
        self._transformers = importlib.import_module("transformers")
        self._torch.set_num_threads(len(os.sched_getaffinity(0)))
        self._torch.set_grad_enabled(False)
        self._model = self._transformers.AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=self._torch.float32, attn_implementation="sdpa"
        ).eval()

    def prefill(self, prompt: list[int]) -> Prefill:
        """Time one forward pass over the prompt."""
        seconds, next_token = self._step(prompt, self._cache(len(prompt)))
        return Prefill(seconds, next_token)

    def decode(self, prompt: list[int], continuation: list[int]) -> Decode:
        """Time one forward pass for each token of the continuation."""
        cache = self._cache(len(prompt) + len(continuation))
        _, next_token = self._step(prompt, cache)
        seconds: list[float] = []
        for token in continuation:
            step, next_token = self._step([token], cache)
            seconds.append(step)
        return Decode(seconds, next_token)

    def _cache(self, capacity: int) -> Any:
        if self._static_cache:
            return self._transformers.StaticCache(config=self._model.config, max_cache_len=capacity)
        return self._transformers.DynamicCache(config=self._model.config)

    def _step(self, token_ids: list[int], cache: Any) -> tuple[float, int]:
        input_ids = self._torch.tensor([token_ids])
        with self._torch.inference_mode():
            start = time.perf_counter()
            output = self._model(input_ids=input_ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            seconds = time.perf_counter() - start
        return seconds, int(output.logits[0, -1].argmax())


if __name__ == "__main__":
    serve(TransformersWorker)
