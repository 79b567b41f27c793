"""What quantization costs in quality: `python -m benchmarks.quality`. Method by format, on trained models.

Each model writes the text that it is calibrated with and, by another seed, the text that it is measured on. The
reference interpreter runs everything: what is measured is the method, not a kernel. States no expectation.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.quality.measure import Row, measure
from benchmarks.quality.models import MODELS, QualityModel, prepared
from benchmarks.quality.schemes import SCHEMES
from benchmarks.quality.table import quality_table
from graphwright.errors import is_user_error

_OUT = Console(highlight=False)
_PROGRESS = Console(stderr=True, highlight=False)
WIDE = 200
"""Columns for a file or another program."""


def main(
    models: Annotated[str, typer.Option(help=f"Comma-separated: {', '.join(MODELS)}; those not here are left out.")] = (
        ",".join(MODELS)
    ),
    schemes: Annotated[str, typer.Option(help="Schemes, separated by spaces; by default a table of them.")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures here.")] = None,
) -> None:
    """Print a table for each model: KL, perplexity, agreement, greedy text, bytes of weights and of cache."""
    chosen = schemes.split() or list(SCHEMES)
    unknown = [name for name in models.split(",") if name not in MODELS]
    if unknown:
        _PROGRESS.print(f"error: no model is called {unknown[0]!r}; choose from {', '.join(MODELS)}", markup=False)
        raise typer.Exit(2)
    results: dict[str, object] = {}
    for name in models.split(","):
        if not MODELS[name].is_dir():
            _PROGRESS.print(f"{name} is not here: {MODELS[name]}", markup=False)
            continue
        with _PROGRESS.status(f"{name}: capture"):
            model = prepared(name)
        rows = _rows(model, chosen)
        if not _OUT.is_terminal:
            _OUT.width = WIDE
        _OUT.print(quality_table(model, rows))
        results[name] = {"context": model.length, "rows": [asdict(row) for row in rows]}
    if json_file is not None:
        json_file.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def _rows(model: QualityModel, schemes: list[str]) -> list[Row]:
    rows: list[Row] = []
    with _PROGRESS.status(model.name) as status:
        for scheme in ["float32", *schemes]:
            status.update(f"{model.name}: {scheme}")
            begin = time.perf_counter()
            try:
                rows.append(measure(model, scheme))
            except Exception as error:
                if not is_user_error(error):
                    raise
                rows.append(Row(scheme, time.perf_counter() - begin, refused=str(error)))
    return rows


if __name__ == "__main__":
    typer.run(main)
