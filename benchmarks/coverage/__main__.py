"""`python -m benchmarks.coverage [CLASS…]`: compiles tiny models of many architectures and writes docs/coverage.md.

Exit status 1 if a model compiled and is wrong.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.coverage.architectures import CAUSAL, ENCODER_DECODERS, FUNCTIONS, every_causal
from benchmarks.coverage.isolation import measured
from benchmarks.coverage.row import Row
from benchmarks.coverage.table import document, totals

DOCUMENT = Path(__file__).parents[2] / "docs" / "coverage.md"
_PROGRESS = Console(stderr=True)
_STYLES = {"right": "green", "refused": "yellow", "failed": "red", "wrong": "bold red"}


def main(
    architectures: Annotated[
        list[str] | None, typer.Argument(help="Classes of transformers; by default a list of known ones.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All …ForCausalLM classes of the library.")] = False,
    dialect: Annotated[str, typer.Option(help="ONNX dialect: ort or portable.")] = "ort",
    output: Annotated[Path, typer.Option(help="The Markdown file to write.")] = DOCUMENT,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures here.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes at a time.")] = 2,
    seconds: Annotated[float, typer.Option(help="Time limit of one architecture.")] = 300,
) -> None:
    """Which architectures compile, and how right they are."""
    chosen = list(dict.fromkeys((*(architectures or ()), *(every_causal() if every else ())))) or [
        *CAUSAL,
        *ENCODER_DECODERS,
        *FUNCTIONS,
    ]
    command = " ".join(["python -m benchmarks.coverage", *(architectures or ()), *(["--all"] if every else [])])
    rows: list[Row] = []
    with _PROGRESS.status(f"0 of {len(chosen)}") as status:
        for row in measured(chosen, dialect, workers, seconds):
            rows.append(row)
            line = f"[{_STYLES[row.status]}]{row.status:8}[/] {row.architecture} ({row.seconds:.0f} s)"
            _PROGRESS.print(line, highlight=False)
            status.update(f"{len(rows)} of {len(chosen)}")
            rows.sort(key=lambda row: chosen.index(row.architecture))
            # After every row, so that a run that is broken off leaves what it found.
            output.write_text(document(rows, dialect, command), encoding="utf-8")
            if json_file is not None:
                json_file.write_text(json.dumps([asdict(each) for each in rows], indent=2) + "\n", encoding="utf-8")
    _PROGRESS.print(totals(rows), highlight=False)
    raise typer.Exit(int(any(row.status == "wrong" for row in rows)))


if __name__ == "__main__":
    typer.run(main)
