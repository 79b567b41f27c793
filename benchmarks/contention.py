"""Decoding beside other work: `python -m benchmarks.contention`. Ours on all cores and on one, and ONNX Runtime.

A shape with random weights, int4, batch 1, measured alone, beside busy loops, in four processes at once, and pinned to
one core. Prints tokens a second, medians over rounds, and ratios of the same rounds; it states no expectation.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.builds import build
from benchmarks.checkpoint import cache_folder, checkpoint
from benchmarks.command_line import chosen, errors_as_a_line
from benchmarks.peers.process import BenchmarkError
from benchmarks.peers.systems import SYSTEMS
from benchmarks.shapes import SHAPES, ModelShape
from benchmarks.summary import machine

OURS, SINGLE, PEER = "ours", "ours on one thread", "ONNX Runtime"
BUILDS = {OURS: "graphwright-tvm-int4", SINGLE: "graphwright-tvm-int4", PEER: "graphwright-int4"}
CONTEXT = 128
SPIN = "while :; do :; done"


@dataclass(frozen=True)
class Setting:
    """What goes on beside the measured processes, and how many of these there are."""

    name: str
    loops: int = 0
    processes: int = 1
    pinned: bool = False


SETTINGS = (
    Setting("idle"),
    Setting("one busy loop", loops=1),
    Setting("two busy loops", loops=2),
    Setting("four processes", processes=4),
    Setting("pinned to one core", pinned=True),
)


def main(
    shape: Annotated[str, typer.Option(help=f"One of {', '.join(SHAPES)}.")] = "SmolLM2-135M",
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, help="That each measurement lasts.")] = 1.5,
    save: Annotated[Path | None, typer.Option(help="Write the table to SAVE.txt.")] = None,
) -> None:
    """Tokens a second of each system in each setting, all in one run."""
    out = Console(width=120, record=True)
    with errors_as_a_line():
        (measured,) = chosen(shape, SHAPES, "shape")
        folders = {name: _built(system, measured) for name, system in BUILDS.items()}
    out.print(machine(), highlight=False)
    table = Table("setting", *BUILDS, f"{OURS} ÷ one thread", f"{OURS} ÷ {PEER}")
    for setting in SETTINGS:
        with _Workers(folders, setting) as workers, _busy(setting.loops):
            found = [workers.round(seconds) for _ in range(rounds)]
        medians = [statistics.median(each[name] for each in found) for name in BUILDS]
        ratios = [statistics.median(each[OURS] / each[name] for each in found) for name in (SINGLE, PEER)]
        table.add_row(setting.name, *(f"{m:.0f}" for m in medians), *(f"{r:.2f}x" for r in ratios))
    out.print(table)
    if save is not None:
        save.with_name(f"{save.name}.txt").write_text(out.export_text(), encoding="utf-8")


class _Workers:
    """A process of each system, or several, of which one system at a time decodes."""

    def __init__(self, folders: dict[str, Path], setting: Setting) -> None:
        self._processes = {
            name: [_start(folder, 1 if name == SINGLE else None, setting.pinned) for _ in range(setting.processes)]
            for name, folder in folders.items()
        }

    def __enter__(self) -> _Workers:
        for process in self._all():
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise BenchmarkError("a worker has ended; its message stands above")
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._all():
            process.kill()
            process.wait()

    def round(self, seconds: float) -> dict[str, float]:
        """Tokens a second, of all processes of a system together."""
        return {name: _rate(processes, seconds) for name, processes in self._processes.items()}

    def _all(self) -> Sequence[subprocess.Popen[str]]:
        return [process for processes in self._processes.values() for process in processes]


def _start(folder: Path, threads: int | None, pinned: bool) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.contention", "work", str(folder), str(threads or 0), str(int(pinned))]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _rate(processes: Sequence[subprocess.Popen[str]], seconds: float) -> float:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(f"{seconds}\n")
        process.stdin.flush()
    return sum(float(process.stdout.readline()) for process in processes if process.stdout is not None)


@contextmanager
def _busy(loops: int) -> Generator[None]:
    running = [subprocess.Popen(["sh", "-c", SPIN]) for _ in range(loops)]
    try:
        yield
    finally:
        for each in running:
            each.kill()
            each.wait()


def _built(system: str, shape: ModelShape) -> Path:
    cache = cache_folder()
    return build(SYSTEMS[system], checkpoint(shape, cache), cache).folder


def _work(folder: str, threads: str, pinned: str) -> None:
    """A worker: for each line, a number of seconds, it decodes so long and prints tokens a second."""
    from graphwright.runtime import Decoder, KVCache, load

    if int(pinned):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    session = load(Path(folder), threads=int(threads) or None).loaded.session
    decoder = Decoder(KVCache(session, 1, CONTEXT + 8))

    def step(tokens: int) -> None:
        length = np.array([tokens], dtype=np.int64)
        decoder.step(np.ones((1, tokens), dtype=np.int64), length, length[:, None] - 1)
        decoder.cache.advance(length)

    step(CONTEXT)
    print("ready", flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        steps = 0
        while time.perf_counter() - start < float(line):
            step(1)
            decoder.cache.rewind(1)
            steps += 1
        print(steps / (time.perf_counter() - start), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        _work(*sys.argv[2:])
    else:
        typer.run(main)
