"""What code for other CPUs loses on this one: `python -m benchmarks.targets --cpus v3,native`.

Compiles a shape for several CPUs into one artifact and decodes with each of its libraries in turn, some steps at a
time. Prints the medians of these turns, and how much longer each library takes than the first.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import graphwright
from benchmarks.checkpoint import cache_folder, checkpoint
from benchmarks.command_line import chosen, errors_as_a_line
from benchmarks.shapes import SHAPES
from benchmarks.summary import machine
from graphwright.runtime import Decoder, KVCache, open_artifact
from graphwright.runtime.cores import available_cores
from graphwright.runtime.session import Session

STEPS = 32
"""Of one library before the next takes its turn."""
WARM = 8
"""Steps of a turn before these: the threads of a library sleep while it has no work."""


def main(
    shape: Annotated[str, typer.Option(help=f"One of {', '.join(SHAPES)}.")] = "SmolLM2-135M",
    quantize: Annotated[str, typer.Option(help="A scheme; `none` is float32.")] = "w4a8-g128-rtn",
    cpus: Annotated[str, typer.Option(help="As behind `--target cpu:`.")] = "native,v3",
    context: Annotated[int, typer.Option(min=1, help="Tokens in the cache.")] = 128,
    turns: Annotated[int, typer.Option(min=1, help="Of each library.")] = 40,
    threads: Annotated[int | None, typer.Option(min=1, help="By default one for each core.")] = None,
    kept: Annotated[Path | None, typer.Option(help="Where the artifact stays, to be measured again.")] = None,
) -> None:
    """Decode with code for each CPU."""
    with errors_as_a_line(), TemporaryDirectory() as temporary:
        (of,) = chosen(shape, SHAPES, "shape")
        folder = kept or Path(temporary, "artifact")
        if not folder.exists():
            quantized = None if quantize == "none" else quantize
            graphwright.compile(checkpoint(of, cache_folder()), output=folder, target=f"cpu:{cpus}", quantize=quantized)
        name = open_artifact(folder, verify=False).manifest.model.name if kept else f"{of.name} {quantize}"
        times = measured(folder, context, turns, threads or available_cores())
    out = Console()
    out.print(machine(), highlight=False)
    shown = Table(title=f"{name}, decode at {context} tokens, {threads or available_cores()} threads")
    for column in ("cpu", "ms a token", "least", "of the first"):
        shown.add_column(column, justify="left" if column == "cpu" else "right")
    first = next(iter(times.values()))
    for name, each in times.items():
        ratio = statistics.median(a / b for a, b in zip(each, first, strict=True))
        shown.add_row(name, f"{statistics.median(each) * 1e3:.2f}", f"{min(each) * 1e3:.2f}", f"{ratio:.2f}x")
    out.print(shown)


def measured(folder: Path, context: int, turns: int, threads: int) -> dict[str, list[float]]:
    """Seconds of a step in each turn, by the CPU that the library is for."""
    artifact = open_artifact(folder, verify=False)
    runs: dict[str, Run] = {}
    for version in artifact.manifest.program.versions:
        alone = replace(artifact, manifest=artifact.manifest.model_copy(update={"program": version}))
        runs[version.target] = Run(Session(alone, threads=threads), context)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(turns):
        for name, run in runs.items():
            times[name].append(run.turn())
    return times


class Run:
    """Steps of one row, each behind as many tokens."""

    def __init__(self, session: Session, context: int) -> None:
        self.cache = KVCache(session, 1, context + 1)
        self.decoder = Decoder(self.cache)
        self.context = context
        self.step(context)
        self.cache.advance(np.array([context], np.int64))
        self.turn()

    def step(self, tokens: int) -> None:
        ids, length = np.zeros((1, tokens), np.int64), np.array([tokens], np.int64)
        self.decoder.step(ids, length, np.array([[tokens - 1]], np.int64))

    def turn(self) -> float:
        """Seconds of a step. The cache is left as it was, so that all steps read as much of it."""
        for _ in range(WARM):
            self.step(1)
        began = time.perf_counter()
        for _ in range(STEPS):
            self.step(1)
        return (time.perf_counter() - began) / STEPS


if __name__ == "__main__":
    typer.run(main)
