"""What commands that quantize share: their options read, and what was done as a table."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from graphwright.cli.module_ranges import module_ranges
from graphwright.cli.output import console, size_text

if TYPE_CHECKING:
    from graphwright.quantizing.quantization import Quantization
    from graphwright.quantizing.quantization_report import QuantizationReport

WIDE = 10_000
"""Columns in which every table fits: a file or another program wants rows whole."""


def read_quantization(
    scheme: str | None,
    calibration: str | None,
    rows: int | None,
    length: int | None,
    work: Path | None,
    max_kl: float | None,
    bits: float | None,
) -> "Quantization | None":
    """From the options of a command; None where they ask for nothing. Raises UsageError, PassError."""
    if all(given is None for given in (scheme, calibration, rows, length, work, max_kl, bits)):
        return None
    from graphwright.quantizing.quantization import requested_quantization

    options = {"calibration_rows": rows, "calibration_length": length, "work": work, "max_kl": max_kl, "bits": bits}
    return requested_quantization(scheme, calibration, **options)


def print_quantization(report: "QuantizationReport") -> None:
    """A row for each step, then where a step was refused, and what the figures are."""
    out = console()
    if not out.is_terminal:
        out.width = WIDE
    out.print(_table(report), soft_wrap=False)
    for line in _refusals(report):
        out.print(line, markup=False)
    out.print(summary(report), markup=False)
    for note in report.notes:
        out.print(note, markup=False)


def summary(report: "QuantizationReport") -> str:
    """Sizes before and after in one line."""
    parts = [f"weights {_change(report.bytes_before, report.bytes_after)}"]
    if report.cache_bits_before != report.cache_bits_after:
        parts.append(f"cache {_change(report.cache_bits_before // 8, report.cache_bits_after // 8)} a token")
    return f"{report.scheme}: {', '.join(parts)}"


def _change(before: int, after: int) -> str:
    return f"{size_text(before)} → {size_text(after)}"


def _table(report: "QuantizationReport") -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    measured = report.kl is not None
    table.add_column("step")
    for name in ("places", "weights before", "after", *(["KL"] if measured else [])):
        table.add_column(name, justify="right")
    for step, hits in zip(report.steps, report.hits, strict=True):
        cells = [step.name, str(hits), size_text(step.bytes_before), size_text(step.bytes_after)]
        if measured:
            cells.append("lossless" if not step.lossy else "" if step.kl is None else f"{step.kl:.2g}")
        table.add_row(*cells)
    return table


def _refusals(report: "QuantizationReport") -> list[str]:
    """A line for each step and reason, with the modules that it holds for."""
    places: dict[tuple[str, str], list[str]] = {}
    for refused in report.refused:
        places.setdefault((refused.step, refused.reason), []).append(refused.location)
    return [
        f"{step} refused {', '.join(module_ranges(filter(None, locations))) or 'a place'}: {reason}"
        for (step, reason), locations in places.items()
    ]
