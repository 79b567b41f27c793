"""Results as a table: times, and what of the machine's measured rates they use."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from benchmarks.gpu.rows import BUNDLED, NEW_TOKENS, Row, rows

_KINDS: tuple[Literal["prefill", "decode"], ...] = ("prefill", "decode")


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
    ratios = _ratios(measured)
    if ratios.row_count:
        out.print(ratios)


def _ratios(measured: dict[str, dict[str, Any]]) -> Table:
    """Codes over numbers of 16 bits, as times: of a prompt, of a token behind it, and of both with all new tokens."""
    made = Table("16 bits over codes", "batch", "prompt", "prefill", "decode", "end to end")
    for row in rows():
        build = row.build
        if row.kind != "decode" or build.scheme is None or row.system != "graphwright":
            continue
        times = [
            float(found["seconds"])
            for each in (replace(build, scheme=None), build)
            for kind in _KINDS
            if "seconds" in (found := measured.get(replace(row, kind=kind, build=each).name, {}))
        ]
        if len(times) == 4:
            prefill, decode, coded_prefill, coded_decode = times
            whole, coded = prefill + NEW_TOKENS * decode, coded_prefill + NEW_TOKENS * coded_decode
            shares = (prefill / coded_prefill, decode / coded_decode, whole / coded)
            made.add_row(build.name, str(row.batch), str(row.prompt), *(f"{share:.2f}x" for share in shares))
    return made


def _figure(found: dict[str, Any]) -> str:
    if "failure" in found:
        return str(found["failure"])
    if "distance" in found:
        said = "within" if found["distance"] <= found["bound"] else "beyond"
        figure = f"{found['distance']:.2e}, {said} {found['bound']:.2e}"
        return f"{figure}: {found['kernel']}, of {found['launches']} results" if "kernel" in found else figure
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
