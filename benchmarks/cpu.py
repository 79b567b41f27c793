"""CPU benchmark: `python -m benchmarks.cpu`. Random weights, float32 and int4, ours and peers in one run.

Prints medians and ratios; it states no expectation. A system that cannot be measured is a row with its reason.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.builds import build, start_worker
from benchmarks.checkpoint import cache_folder, checkpoint
from benchmarks.command_line import chosen
from benchmarks.interleaved import Contestant, measure
from benchmarks.measurements import Measurements, Workload
from benchmarks.peers.process import BenchmarkError
from benchmarks.peers.systems import DEFAULT_SYSTEMS, QUICK_SYSTEMS, SYSTEMS, System
from benchmarks.shapes import SHAPES, ModelShape
from benchmarks.summary import Summary, machine

DEFAULT_SHAPES = ("SmolLM2-135M", "Qwen2.5-0.5B")
LARGE_SHAPE = "Llama-3.2-1B"
QUICK_ROUNDS = 2
DEFAULT = Workload()
_WIDTH = 180

_PROGRESS = Console(stderr=True)


def main(
    systems: Annotated[str | None, typer.Option(help=f"Comma-separated: {', '.join(SYSTEMS)}.")] = None,
    shapes: Annotated[str | None, typer.Option(help=f"Comma-separated: {', '.join(SHAPES)}.")] = None,
    large: Annotated[bool, typer.Option("--large", help=f"{LARGE_SHAPE} too.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="One shape, fewer systems, two rounds.")] = False,
    against: Annotated[
        Path | None, typer.Option(help="Another clone of Graphwright, with its environment in .venv, as a peer.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help=f"By default {DEFAULT.rounds}.")] = None,
    contexts: Annotated[
        str | None,
        typer.Option(help="Tokens before those decoded, comma-separated; the first holds for a batch too."),
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, help=f"Of the batch: {DEFAULT.rows}; 1 is none.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write tables to SAVE.txt, all samples to SAVE.json.")] = None,
) -> None:
    """Prefill, decode, several tokens and rows at once, load time, memory and compile time, side by side."""
    out = Console(width=_WIDTH, record=True)
    try:
        default_systems = QUICK_SYSTEMS if quick else DEFAULT_SYSTEMS
        default_shapes = DEFAULT_SHAPES[:1] if quick else DEFAULT_SHAPES + (LARGE_SHAPE,) * large
        chosen_systems = chosen(systems or ",".join(default_systems), SYSTEMS, "system")
        if against is not None:
            chosen_systems += [system.as_before(against) for system in chosen_systems if system.is_ours]
        chosen_shapes = chosen(shapes or ",".join(default_shapes), SHAPES, "shape")
        workload = replace(
            DEFAULT,
            decode_contexts=DEFAULT.decode_contexts if contexts is None else _contexts(contexts),
            rows=rows or DEFAULT.rows,
            rounds=rounds or (QUICK_ROUNDS if quick else DEFAULT.rounds),
        )
    except BenchmarkError as error:
        _PROGRESS.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    out.print(machine(), highlight=False)
    results: dict[str, object] = {}
    for shape in chosen_shapes:
        possible = workload.within(shape.context_length)
        summary = Summary(shape, chosen_systems, possible, _run(shape, chosen_systems, possible))
        summary.print(out)
        results[shape.name] = summary.content()
        if save is not None:
            # After every shape: a run takes long, and what it has measured should outlive its interruption.
            content = {"machine": machine(), "workload": asdict(workload), "shapes": results}
            save.with_name(f"{save.name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            save.with_name(f"{save.name}.txt").write_text(out.export_text(clear=False), encoding="utf-8")


def _contexts(text: str) -> tuple[int, ...]:
    """Raises BenchmarkError for anything but numbers from 1 on, each more than the one before."""
    numbers = [int(part) if part.isdecimal() else 0 for part in text.split(",")]
    if numbers[0] < 1 or sorted(set(numbers)) != numbers:
        raise BenchmarkError(f"contexts must be numbers from 1 on, each more than the one before: {text!r}")
    return tuple(numbers)


def _run(shape: ModelShape, systems: list[System], workload: Workload) -> Measurements:
    cache = cache_folder()
    with _PROGRESS.status(f"{shape.name}: checkpoint") as status:

        def report(line: str) -> None:
            status.update(f"{shape.name}: {line}")
            if not _PROGRESS.is_terminal:  # where a status line shows nothing
                _PROGRESS.print(f"{shape.name}: {line}", markup=False, highlight=False, soft_wrap=True)

        source = checkpoint(shape, cache)
        contestants: dict[str, Contestant] = {}
        unbuilt: dict[str, str] = {}
        for system in systems:
            report(f"{system.name}: build")
            try:
                built = build(system, source, cache)
            except BenchmarkError as error:
                unbuilt[system.name] = str(error)
                report(str(error))
                continue
            start = partial(start_worker, system, cache)
            contestants[system.name] = Contestant(
                start,
                built.folder,
                system.options,
                system.exact,
                system.verifies,
                system.batches,
                built.compile_seconds,
            )
        measurements = measure(contestants, shape.vocabulary_size, workload, report)
    measurements.failures = {**unbuilt, **measurements.failures}
    return measurements


if __name__ == "__main__":
    typer.run(main)
