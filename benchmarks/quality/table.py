"""The table of a model."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from benchmarks.quality.measure import Row
from benchmarks.quality.models import QualityModel


def quality_table(model: QualityModel, rows: Sequence[Row]) -> Table:
    """A row for each scheme; a refused one says why."""
    size = f"{model.evaluation.size} tokens that it wrote, in rows of {model.length}"
    table = Table(title=f"{model.name}: {size}", title_justify="left")
    table.add_column("scheme", no_wrap=True)
    for name in ("KL", "perplexity", "agreement", "greedy", "weights kB", "cache B/token", "s"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(row.scheme, *_cells(row))
    return table


def _cells(row: Row) -> list[str]:
    if row.kl is None or row.perplexity is None or row.agreement is None or row.weight_bytes is None:
        return ["refused", row.refused, "", "", "", "", f"{row.seconds:.1f}"]
    same = "same" if row.same_greedy == row.greedy_tokens else f"{row.same_greedy} of {row.greedy_tokens}"
    return [
        f"{row.kl:.2g}",
        f"{row.perplexity:.4f}",
        f"{row.agreement:.2%}",
        same,
        f"{row.weight_bytes / 1000:.1f}",
        f"{row.cache_bytes:g}",
        f"{row.seconds:.1f}",
    ]
