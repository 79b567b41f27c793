"""The benchmark's tables."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from benchmarks.results import Figures, Ratios

_GIGABYTE = 1e9


def figures_table(title: str, systems: Mapping[str, Figures]) -> Table:
    """One row a system, in absolute figures."""
    table = Table(title=title, title_justify="left")
    table.add_column("system", no_wrap=True)
    for column in ("load s", "prefill tok/s", "decode tok/s", "bandwidth", "peak GB", "anon GB"):
        table.add_column(column, justify="right")
    for name, figures in systems.items():
        table.add_row(
            name,
            f"{figures.load_seconds:.2f}",
            f"{figures.prefill_speed:.1f}",
            f"{figures.decode_speed:.1f}",
            f"{figures.bandwidth_share:.0%}",
            f"{figures.peak_resident / _GIGABYTE:.3f}",
            f"{figures.peak_anonymous / _GIGABYTE:.3f}",
        )
    return table


def ratios_table(name: str, peers: Mapping[str, Ratios]) -> Table:
    """One row a peer: `name` divided by it."""
    table = Table(title=f"{name} ÷ peer (speed: more is better; load, memory: less is better)", title_justify="left")
    table.add_column("peer", no_wrap=True)
    for column in ("prefill speed", "decode speed", "load", "peak memory", "anon memory"):
        table.add_column(column, justify="right")
    for peer, ratios in peers.items():
        values = (
            ratios.prefill_speed,
            ratios.decode_speed,
            ratios.load_seconds,
            ratios.peak_resident,
            ratios.peak_anonymous,
        )
        table.add_row(peer, *(f"{value:.2f}x" for value in values))
    return table
