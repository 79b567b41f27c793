"""Results as a table: times, and what of the machine's measured rates they use."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.gpu.rows import BUNDLED, Row, rows


def print_table(results: dict[str, Any]) -> None:
    """Prints the rows that were measured, in their order; of times also the ratio to torch compiled."""
    out = Console(width=150)
    out.print(", ".join(f"{name} {value}" for name, value in results["machine"].items()), highlight=False)
    rates: dict[str, float] = results.get("rates", {})
    if rates:
        out.print(
            f"copy {rates['copy'] / 1e12:.2f} TB/s, product {rates['product'] / 1e12:.0f} TFLOP/s", highlight=False
        )
    made = Table("row", "figure", "of the copy rate", "against torch.compile")
    measured: dict[str, dict[str, Any]] = results["rows"]
    for row in rows():
        found = measured.get(row.name)
        if found is None:
            continue
        made.add_row(row.name, _figure(found), _share(row, found, rates), _against(row, found, measured))
    out.print(made)


def _figure(found: dict[str, Any]) -> str:
    if "failure" in found:
        return str(found["failure"])
    if "distance" in found:
        said = "within" if found["distance"] <= found["bound"] else "beyond"
        return f"{found['distance']:.2e}, {said} {found['bound']:.2e}"
    return f"{1e3 * found['seconds']:.3f} ms"


def _share(row: Row, found: dict[str, Any], rates: dict[str, float]) -> str:
    """Bytes of weights, of two a number, that a token reads over the bytes that a copy would move in the time."""
    if row.kind != "decode" or row.build.scheme is not None or "seconds" not in found or not rates:
        return ""
    return f"{BUNDLED[row.build.shape].decode_weights * 2 / found['seconds'] / rates['copy']:.0%}"


def _against(row: Row, found: dict[str, Any], measured: dict[str, dict[str, Any]]) -> str:
    peer = measured.get(Row(row.kind, row.build, "compiled", row.batch, row.prompt).name, {})
    if row.system == "compiled" or "seconds" not in found or "seconds" not in peer:
        return ""
    return f"{peer['seconds'] / found['seconds']:.2f}x"
