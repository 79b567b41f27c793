"""Rows of our own artifacts, measured through the runtime as users call it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file  # pyright: ignore[reportUnknownVariableType]  # its path type is open

from benchmarks.gpu.bundle import ANSWERS_FILE, STEPS
from benchmarks.gpu.rows import BUNDLED, NEW_TOKENS, Row

if TYPE_CHECKING:
    from graphwright.runtime.engines import EngineFactory

REPEATS = 5


def measure(row: Row, bundle: Path, engine: EngineFactory | None) -> dict[str, Any]:
    """The figures of a row. Seconds are medians of `REPEATS`, after a run that is not counted."""
    artifact = bundle / "artifacts" / row.build.name
    if row.kind == "exact":
        return _distance(artifact, engine)
    if row.kind == "kernels":
        return _kernels(row, artifact, engine)
    from graphwright.runtime import load

    model = load(artifact, engine=engine) if engine is not None else load(artifact)
    vocabulary = BUNDLED[row.build.shape].vocabulary_size
    prompts = np.random.default_rng(0).integers(3, vocabulary, (row.batch, row.prompt)).tolist()
    tokens = {"prefill": 1, "decode": 1 + NEW_TOKENS}.get(row.kind, 2)

    def seconds(count: int) -> float:
        began = time.perf_counter()
        model.generate(prompts, max_new_tokens=count, temperature=0, ignore_eos=True)
        return time.perf_counter() - began

    if row.kind not in ("prefill", "decode"):
        return {"seconds": seconds(tokens)}
    seconds(tokens)
    first = [seconds(1) for _ in range(REPEATS)]
    if row.kind == "prefill":
        return {"seconds": float(np.median(first))}
    whole = [seconds(tokens) for _ in range(REPEATS)]
    return {"seconds": (float(np.median(whole)) - float(np.median(first))) / NEW_TOKENS}


def _kernels(row: Row, artifact: Path, engine: EngineFactory | None) -> dict[str, Any]:
    """How many launches were looked at, and that which is furthest from float64 for what it may be."""
    from benchmarks.gpu.kernels import checked_launches
    from graphwright.runtime import load

    model = load(artifact, engine=engine) if engine is not None else load(artifact)
    drawn = np.random.default_rng(0)
    # Of other lengths: a ragged batch, then one row, whose kernels are others.
    prompts = [drawn.integers(3, BUNDLED[row.build.shape].vocabulary_size, row.prompt - i) for i in range(row.batch)]
    with checked_launches(artifact) as found:
        for batch in (prompts, prompts[:1]):
            model.generate([each.tolist() for each in batch], max_new_tokens=2, temperature=0, ignore_eos=True)
    worst = max(found, key=lambda each: each.share)
    return {
        "launches": len(found),
        "kernel": worst.kernel,
        "distance": worst.distance,
        "bound": worst.bound,
        "beyond": sorted({each.kernel for each in found if each.share > 1}),
    }


def _distance(artifact: Path, engine: EngineFactory | None) -> dict[str, float]:
    """How far the logits of a prompt and of tokens one by one are from those in float64, and how far they may be."""
    from graphwright.runtime import Decoder, KVCache, load

    answers = load_file(artifact.with_name(f"{artifact.name}-{ANSWERS_FILE}"))
    ids, exact, bound = answers["ids"], answers["logits"], float(answers["bound"][0])
    model = load(artifact, engine=engine) if engine is not None else load(artifact)
    decoder = Decoder(KVCache(model.loaded.session, 1, len(ids)))
    found: list[np.ndarray] = []
    for part in (ids[:-STEPS], *np.split(ids[-STEPS:], STEPS)):
        length, wanted = np.array([len(part)]), np.arange(len(part))[None]
        found.append(decoder.step(part[None], length, wanted)[0].copy())
        decoder.cache.advance(length)
    return {"distance": float(np.abs(np.concatenate(found) - exact).max()), "bound": bound}
