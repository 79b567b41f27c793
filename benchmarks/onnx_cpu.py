"""CPU benchmark: `python -m benchmarks.onnx_cpu`. Batch 1, random weights, float32 and int4, all systems in one run.

Prints medians and ratios; it states no expectation and fails only when a measurement cannot be made.
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from benchmarks.builds import build, start_worker
from benchmarks.checkpoint import cache_folder, checkpoint
from benchmarks.interleaved import Contestant, Measurements, Workload, measure
from benchmarks.peers.process import BenchmarkError
from benchmarks.peers.systems import MATRIX_BITS, SYSTEMS, System
from benchmarks.results import figures, ratios
from benchmarks.shapes import SHAPES, ModelShape
from benchmarks.tables import figures_table, ratios_table

_OUT = Console()
_PROGRESS = Console(stderr=True)
_Choice = TypeVar("_Choice")


def main(
    systems: Annotated[
        str, typer.Option(help=f"Comma-separated, ours first: {', '.join(SYSTEMS)}.")
    ] = "graphwright,genai,transformers",
    shapes: Annotated[str, typer.Option(help=f"Comma-separated: {', '.join(SHAPES)}.")] = "SmolLM2-135M,Qwen2.5-0.5B",
    rounds: Annotated[int, typer.Option(min=1, help="Speed: rounds counted, after one to warm up.")] = 7,
    startups: Annotated[int, typer.Option(min=1, help="Load and memory: fresh processes counted, after one.")] = 3,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write figures, ratios and samples here.")] = None,
) -> None:
    """Prefill, decode, load time and peak memory, side by side; the first system is compared with the others."""
    try:
        chosen_systems = _chosen(systems, SYSTEMS, "system")
        chosen_shapes = _chosen(shapes, SHAPES, "shape")
        workload = Workload(rounds=rounds, startups=startups)
        _OUT.print(_machine(), highlight=False)
        results = {shape.name: _run(shape, chosen_systems, workload) for shape in chosen_shapes}
    except BenchmarkError as error:
        _PROGRESS.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    if json_file is not None:
        content = {"machine": _machine(), "workload": asdict(workload), "shapes": results}
        json_file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _run(shape: ModelShape, systems: list[System], workload: Workload) -> dict[str, object]:
    cache = cache_folder()
    with _PROGRESS.status(f"{shape.name}: checkpoint") as status:
        source = checkpoint(shape, cache)
        contestants: dict[str, Contestant] = {}
        for system in systems:
            status.update(f"{shape.name}: {system.name}: build")
            start = partial(start_worker, system, cache)
            folder = build(system, source, cache)
            contestants[system.name] = Contestant(start, folder, system.options, system.format == "float32")
        measurements = measure(
            contestants, shape.vocabulary_size, workload, lambda line: status.update(f"{shape.name}: {line}")
        )
    weight_bytes = {system.name: shape.decode_bytes(MATRIX_BITS[system.format]) for system in systems}
    return _print(shape, measurements, workload, weight_bytes)


def _print(
    shape: ModelShape, measurements: Measurements, workload: Workload, weight_bytes: dict[str, int]
) -> dict[str, object]:
    samples = measurements.systems
    measured = {name: figures(sample, measurements, workload, weight_bytes[name]) for name, sample in samples.items()}
    ours, *peers = samples
    compared = {peer: ratios(samples[ours], samples[peer]) for peer in peers}
    title = (
        f"{shape.name}: prefill {workload.prefill_tokens}, decode at context {workload.decode_context}; "
        f"{median(measurements.bandwidth) / 1e9:.1f} GB/s measured"
    )
    _OUT.print()
    _OUT.print(figures_table(title, measured))
    if compared:
        _OUT.print(ratios_table(ours, compared))
    for name, sample in samples.items():
        versions = ", ".join(f"{library} {version}" for library, version in sample.versions.items())
        size = f"{weight_bytes[name] / 1e9:.3f} GB of weights a token"
        _OUT.print(f"{name}: {size}; {versions}", highlight=False, soft_wrap=True)
    return {
        "weight_bytes_per_token": weight_bytes,
        "figures": {name: asdict(figure) for name, figure in measured.items()},
        "ratios": {peer: asdict(ratio) for peer, ratio in compared.items()},
        "measurements": asdict(measurements),
    }


def _chosen(names: str, known: dict[str, _Choice], kind: str) -> list[_Choice]:
    chosen = [name.strip() for name in names.split(",")]
    for name in chosen:
        if name not in known:
            raise BenchmarkError(f"no {kind} is called {name!r}; choose from {', '.join(known)}")
    if len(set(chosen)) < len(chosen):
        raise BenchmarkError(f"each {kind} can be named once, not {names!r}")
    return [known[name] for name in chosen]


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, {memory:.0f} GB of memory, {platform.system()} {platform.release()}"


if __name__ == "__main__":
    typer.run(main)
