"""Hugging Face transformers as a measured system, eager or compiled by PyTorch; runs in `.peers/transformers`."""

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

COMPILED_STEPS = ((192, 1), (192, 4), (2112, 1), (8208, 1))
"""Capacity of the cache and tokens of a step: each has code of its own, which takes a minute to compile."""
_CHECKPOINT = "checkpoint"


class TransformersWorker(SteppingWorker):
    """`AutoModelForCausalLM` with scaled-dot-product attention and the logits that are wanted."""

    # Both are untyped where they are used here.
    _torch: Any
    _transformers: Any
    _model: Any
    _compiled: Any = None
    _static_cache: bool
    _cache: Any
    _capacity: int
    _past: int

    def versions(self) -> Mapping[str, str]:
        """Of the library and of PyTorch beneath it."""
        return {name: version(name) for name in ("transformers", "torch")}

    def prepare(self, checkpoint: Path, folder: Path, options: Mapping[str, str]) -> Path:
        """Nothing to build eager: checkpoints are loaded as they are. Compiled code is kept in the folder."""
        if options.get("compile") != "yes":
            return checkpoint
        (folder / _CHECKPOINT).symlink_to(checkpoint)
        self.load(folder, options)
        return folder

    def load(self, folder: Path, options: Mapping[str, str]) -> None:
        """Load the checkpoint in float32, with a thread for every core.

        `cache=static` allocates the cache ahead; `compile=yes` also compiles the steps of few tokens, as `generate`
        does, and runs each once: from then on nothing is compiled.
        """
        compiles = options.get("compile") == "yes"
        if compiles:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")
            # Its pool of compiling processes would outlive the compilation and count as memory.
            os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
        self._static_cache = options.get("cache") == "static"
        self._torch = importlib.import_module("torch")
        self._transformers = importlib.import_module("transformers")
        self._torch.set_num_threads(len(os.sched_getaffinity(0)))
        self._torch.set_grad_enabled(False)
        source = folder / _CHECKPOINT if compiles else folder
        self._model = self._transformers.AutoModelForCausalLM.from_pretrained(
            str(source), dtype=self._torch.float32, attn_implementation="sdpa"
        ).eval()
        if compiles:
            # Lengths are compiled in: a dynamic one makes slower code.
            self._compiled = self._torch.compile(self._model.forward, dynamic=False, fullgraph=True)
            for capacity, tokens in COMPILED_STEPS:
                self.begin(capacity, 1)
                self.step([[0] * 16], 1)
                self.step([[0] * tokens], tokens)

    def begin(self, capacity: int, rows: int) -> None:
        """An empty cache; a compiled step has one of the sizes that it was compiled for, if one is large enough."""
        self._past = 0
        self._capacity = capacity
        if self._compiled is not None:
            self._capacity = min((size for size, _ in COMPILED_STEPS if size >= capacity), default=capacity)
        if self._static_cache:
            self._cache = self._transformers.StaticCache(config=self._model.config, max_cache_len=self._capacity)
        else:
            self._cache = self._transformers.DynamicCache(config=self._model.config)

    def step(self, tokens: list[list[int]], wanted: int) -> tuple[float, Logits]:
        """Time one forward pass."""
        positions = self._torch.arange(self._past, self._past + len(tokens[0]))[None]
        forward, arguments = self._model, dict[str, Any]()
        if self._compiled is not None and (self._capacity, len(tokens[0])) in COMPILED_STEPS:
            forward = self._compiled
            # Made outside, as `generate` makes it: the library's own code for it depends on the length so far.
            seen = self._torch.arange(self._capacity) <= positions[0][:, None]
            arguments = {"attention_mask": seen[None, None]}
        input_ids = self._torch.tensor(tokens)
        with self._torch.inference_mode():
            start = time.perf_counter()
            output = forward(
                input_ids=input_ids,
                position_ids=positions,
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=wanted,
                **arguments,
            )
            seconds = time.perf_counter() - start
        self._past += len(tokens[0])
        return seconds, output.logits.numpy()


if __name__ == "__main__":
    serve(TransformersWorker)
