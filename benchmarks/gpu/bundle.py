"""A folder with all that a machine with a GPU needs: artifacts without weights, and answers in float64."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]  # its path type is open

from benchmarks.checkpoint import write_checkpoint, write_configuration
from benchmarks.gpu.rows import BUNDLED, PROMPT, TINY, Build, Row

MOST_BYTES = 60 << 20
"""Of a bundle. It is carried to a machine that has no other way to get it."""
ANSWERS_FILE = "answers.safetensors"
BUNDLE_FILE = "bundle.json"
STEPS = 5
"""Tokens one by one behind the prompt of a row whose logits are compared."""


class BundleError(Exception):
    """A bundle cannot be made or read; the message is one line."""


def write_bundle(folder: Path, rows: Sequence[Row], architectures: str, report: Callable[[str], object]) -> int:
    """Compiles each build of the rows once for the architectures; returns the bytes written.

    Weights of `Tiny` are stored. Those of others are filled from a seed where they are loaded. The folder appears whole
    or not at all. Raises BundleError for one that exists, and for a bundle that is too large; and what compiling does.
    """
    if folder.exists():
        raise BundleError(f"{folder} exists: name a folder that does not")
    try:
        return _write_bundle(folder, rows, architectures, report)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _write_bundle(folder: Path, rows: Sequence[Row], architectures: str, report: Callable[[str], object]) -> int:
    folder.mkdir(parents=True)
    builds = {row.build.name: row.build for row in rows if row.system == "graphwright"}
    for name, build in builds.items():
        report(f"compile {name}")
        compile_build(build, folder / "artifacts" / name, architectures)
    described = [{"row": row.name, "build": row.build.name} for row in rows]
    (folder / BUNDLE_FILE).write_text(json.dumps({"architectures": architectures, "rows": described}, indent=2) + "\n")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if size > MOST_BYTES:
        raise BundleError(f"{folder} has {size >> 20} MiB, more than {MOST_BYTES >> 20}: leave out architectures")
    return size


def compile_build(wanted: Build, output: Path, architectures: str) -> None:
    """The artifact of a build, and of `Tiny` the answers beside it, unless it has caches of codes."""
    from graphwright.compiling.compiler import Options, build
    from graphwright.quantizing.quantization import requested_quantization
    from graphwright.sources.models import ModelOptions, resolve

    shape = BUNDLED[wanted.shape]
    checkpoint = output.with_name(f"{output.name}-checkpoint")
    stored = shape is TINY
    if stored:
        write_checkpoint(shape, checkpoint)
    else:
        write_configuration(shape, checkpoint)
    try:
        calibration = _calibration(wanted)
        quantization = None if wanted.scheme is None else requested_quantization(wanted.scheme, calibration)
        options = Options(target=f"cuda:{architectures}", dtype=wanted.dtype, quantization=quantization)
        build(resolve(str(checkpoint), ModelOptions(weights="stored" if stored else "seed")), output, options)
        if stored and calibration is None:
            save_file(answers(checkpoint, wanted), output.with_name(f"{output.name}-{ANSWERS_FILE}"))
    finally:
        shutil.rmtree(checkpoint)


def _calibration(build: Build) -> NDArray[Any] | None:
    """Token ids for scales of caches, of which only `Tiny` has some."""
    if build.scheme is None or not build.scheme.startswith("kv"):
        return None
    return np.random.default_rng(1).integers(3, BUNDLED[build.shape].vocabulary_size, (4, 64))


def answers(checkpoint: Path, build: Build) -> dict[str, NDArray[Any]]:
    """Token ids [n], and the logits of each, f32 [n, vocabulary], of the quantized program in float64.

    `bound` is four times what the reference in the build's own type is away from them: kernels round as it does, in
    another order.
    """
    import torch

    import graphwright
    from graphwright.ir import Interpreter
    from graphwright.ir.convention import FORWARD, INPUT_IDS, LOGITS

    if build.scheme is None:
        program = graphwright.trace(checkpoint, dtype=build.dtype)
    else:
        program = graphwright.quantize(checkpoint, build.scheme, pipeline="raise", dtype=build.dtype, measure=False)[0]
    drawn = np.random.default_rng(0).integers(3, BUNDLED[build.shape].vocabulary_size, PROMPT + STEPS)
    ids = torch.tensor(drawn.tolist())
    graph = program.graphs[FORWARD]
    exact, rounded = (
        Interpreter(precision).run(graph, {INPUT_IDS: ids[None]})[LOGITS][0].double()
        for precision in ("float64", "reference")
    )
    return {
        "ids": drawn,
        "logits": exact.float().numpy(),
        "bound": np.array([4 * float((exact - rounded).abs().max())]),
    }
