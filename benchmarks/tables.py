"""The benchmark's tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.table import Table

from benchmarks.results import BestPeer, Figures

_GIGABYTE = 1e9
NOTHING = "-"


def speed_table(
    title: str, contexts: Iterable[int], rows: int, systems: Mapping[str, Figures], failed: Iterable[str]
) -> Table:
    """One row a system: tokens per second, their spread, and the share of bandwidth."""
    table = Table(title=title, title_justify="left")
    table.add_column("system", no_wrap=True)
    columns = ["prefill tok/s"]
    for context in contexts:
        columns += [f"at {context} tok/s", "of bandwidth"]
    for column in (*columns, f"{rows} rows tok/s", "context ÷ cache", "verify ÷ one"):
        table.add_column(column, justify="right")
    for name, figures in systems.items():
        cells = [_speed(figures.prefill.tokens_per_second, figures.prefill.spread)]
        for context, speed in figures.decode.items():
            cells += [_speed(speed.tokens_per_second, speed.spread), f"{figures.bandwidth_share[context]:.0%}"]
        batch = figures.batch
        cells.append(NOTHING if batch is None else _speed(batch.tokens_per_second, batch.spread))
        table.add_row(name, *cells, _ratio(figures.context_cost), _ratio(figures.verify_cost))
    return _with_failed(table, failed)


def size_table(systems: Mapping[str, Figures], failed: Iterable[str]) -> Table:
    """One row a system: seconds before the first token, memory, and how far the logits are from float32."""
    table = Table()
    table.add_column("system", no_wrap=True)
    for column in ("compile s", "load s", "peak GB", "anonymous GB", "KL to float32"):
        table.add_column(column, justify="right")
    for name, figures in systems.items():
        table.add_row(
            name,
            f"{figures.compile_seconds:.1f}",
            f"{figures.load_seconds:.2f}",
            f"{figures.peak_resident / _GIGABYTE:.3f}",
            f"{figures.peak_anonymous / _GIGABYTE:.3f}",
            NOTHING if figures.divergence is None else f"{figures.divergence:.1e}",
        )
    return _with_failed(table, failed)


def best_peers_table(ours: Mapping[str, Mapping[str, BestPeer]]) -> Table:
    """One row a system of ours: its ratio to the best peer of the same format, by what is measured."""
    title = "ours ÷ the best peer of the same format (speed: more is better; load, memory: less is better)"
    table = Table(title=title, title_justify="left")
    table.add_column("system", no_wrap=True)
    for column in next(iter(ours.values())):
        table.add_column(column, justify="right")
    for name, best in ours.items():
        table.add_row(name, *(f"{peer.ratio:.2f}x {peer.name}" for peer in best.values()))
    return table


def _with_failed(table: Table, failed: Iterable[str]) -> Table:
    for name in failed:
        table.add_row(name, *[NOTHING] * (len(table.columns) - 1))
    return table


def _speed(value: float, spread: float) -> str:
    return f"{value:.1f} ±{spread:.0%}"


def _ratio(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}x"
