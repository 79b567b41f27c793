"""Several rows, and several tokens a row, in a step: `python -m benchmarks.batches`.

Steps of the TVM backend in int4 at a context of 128 tokens: one token of each of B rows, and k tokens of one row with
the logits of each, as speculation verifies them. Each cost is a multiple of the one-row step's, all measured in turns
in one run; with `--against CLONE` of the one-row step of another clone too. Prints figures; it states no expectation.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.builds import build, start_worker
from benchmarks.checkpoint import cache_folder, checkpoint
from benchmarks.command_line import chosen, errors_as_a_line
from benchmarks.peers.process import WorkerProcess
from benchmarks.peers.systems import SYSTEMS
from benchmarks.shapes import SHAPES, ModelShape
from graphwright.runtime import Decoder, KVCache, load
from graphwright.runtime.session import Session

SYSTEM = "graphwright-tvm-int4"
ROWS = (2, 4, 8, 16)
TOKENS = (2, 4, 8)
ONE = (1, 1)
CASES = (ONE, *((rows, 1) for rows in ROWS), *((1, tokens) for tokens in TOKENS))
"""Rows, and tokens of each."""
CONTEXT = 128
STEPS = 4
"""Steps of a size in one turn, one after another as in use; the median counts."""

Step = Callable[[], float]


def main(
    shapes: Annotated[str, typer.Option(help=f"Comma-separated: {', '.join(SHAPES)}.")] = "SmolLM2-135M,Qwen2.5-0.5B",
    against: Annotated[
        Path | None, typer.Option(help="Another clone of Graphwright, with its environment in .venv.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=2, help="Turns of each size.")] = 30,
) -> None:
    """The time of steps of several rows or tokens over that of one."""
    console = Console()
    with errors_as_a_line():
        for shape in chosen(shapes, SHAPES, "shape"):
            console.print(table(shape.name, measured(shape, against, rounds), before=against is not None))


def measured(shape: ModelShape, against: Path | None, rounds: int) -> dict[tuple[int, int] | None, list[float]]:
    """The seconds of each size's steps, and under None those of the other clone's one-row step."""
    system, cache = SYSTEMS[SYSTEM], cache_folder()
    source = checkpoint(shape, cache)
    artifact = build(system, source, cache).folder
    session = load(artifact).loaded.session
    random = np.random.default_rng(0)
    steps: dict[tuple[int, int] | None, Step] = {case: step_of(session, case, random) for case in CASES}
    with ExitStack() as stack:
        if against is not None:
            before = system.as_before(against)
            loaded = build(before, source, cache).folder
            worker = stack.enter_context(start_worker(before, cache))
            worker.load(loaded, before.options)
            steps[None] = lambda: one_row(worker, shape.vocabulary_size, random)
        seconds: dict[tuple[int, int] | None, list[float]] = {case: [] for case in steps}
        for _ in range(rounds):
            for case, step in steps.items():
                seconds[case].append(step())
    return seconds


def step_of(session: Session, case: tuple[int, int], random: np.random.Generator) -> Step:
    """A function that runs a few steps of that size and tells the seconds of one.

    Each is a step after the prompt: the cache is not advanced, so that the context stays as long as it is.
    """
    rows, tokens = case
    cache = KVCache(session, rows, CONTEXT + tokens)
    decoder = Decoder(cache)
    prompt = np.full(rows, CONTEXT)
    decoder.step(random.integers(0, session.vocabulary_size, (rows, CONTEXT)), prompt, prompt[:, None] - 1)
    cache.advance(prompt)
    new, positions = np.full(rows, tokens), np.tile(np.arange(tokens), (rows, 1))

    def step() -> float:
        ids = random.integers(0, session.vocabulary_size, (rows, tokens))
        start = time.perf_counter()
        decoder.step(ids, new, positions)
        return time.perf_counter() - start

    return lambda: median(step() for _ in range(STEPS))


def one_row(worker: WorkerProcess, vocabulary_size: int, random: np.random.Generator) -> float:
    tokens = [int(token) for token in random.integers(0, vocabulary_size, CONTEXT + STEPS)]
    seconds = median(worker.decode(tokens[:CONTEXT], tokens[CONTEXT:]).seconds)
    # Threads that still spin would take cores from the steps that are measured next.
    worker.wait_until_quiet()
    return seconds


def table(name: str, seconds: dict[tuple[int, int] | None, list[float]], *, before: bool) -> Table:
    """One row a size: its median step, over one row's, and how many tokens a second that makes."""
    result = Table(title=f"{name}, int4, context {CONTEXT}", title_justify="left")
    columns = ["rows", "tokens a row", "step ms", "÷ one row", *(["÷ one row before"] if before else []), "tokens/s"]
    for column in columns:
        result.add_column(column, justify="right")
    for case in CASES:
        rows, tokens = case
        step = median(seconds[case])
        over = [ratio(seconds[case], seconds[ONE]), *([ratio(seconds[case], seconds[None])] if before else [])]
        result.add_row(str(rows), str(tokens), f"{step * 1e3:.2f}", *over, f"{rows * tokens / step:.0f}")
    return result


def ratio(some: list[float], others: list[float]) -> str:
    """The median of the rounds' ratios."""
    return f"{median(a / b for a, b in zip(some, others, strict=True)):.2f}x"


if __name__ == "__main__":
    typer.run(main)
