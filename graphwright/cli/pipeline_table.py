"""A run of passes as a table on the terminal."""

from rich.box import SIMPLE_HEAD
from rich.table import Table

from graphwright.cli.output import console, counted, seconds_text, size_text
from graphwright.reporting.pipeline_report import PassRow, Phase, PipelineReport, Price, Proof

WIDE = 10_000
"""Columns in which every table fits: a file or another program wants rows whole."""


def print_pipeline(report: PipelineReport) -> None:
    """Print a row for each pass, then what the figures are of."""
    out = console()
    if not out.is_terminal:
        out.width = WIDE
    out.print(_table(report), soft_wrap=False)
    for line in _remarks(report):
        out.print(line, markup=False)


def _phases(report: PipelineReport) -> list[Phase]:
    return [phase for phase in ("prefill", "decode", "forward") if phase in report.before]


def _table(report: PipelineReport) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    phases = _phases(report)
    proven = any(row.proof is not None for row in report.passes)
    table.add_column("pass")
    numbers = ["hits", "near misses", "ops", *(["launches", "bytes"] if phases else []), *_timed(report)]
    for name in numbers:
        table.add_column(name, justify="right")
    if proven:
        table.add_column("proof")
    table.add_column("took", justify="right")
    for row in report.passes:
        table.add_row(*_cells(report, row, proven))
    return table


def _timed(report: PipelineReport) -> list[Phase]:
    """The phases of which times are predicted."""
    return _phases(report) if report.machine is not None else []


def _cells(report: PipelineReport, row: PassRow, proven: bool) -> list[str]:
    ops = str(row.ops_after) if row.ops_before == row.ops_after else f"{row.ops_before} → {row.ops_after}"
    cells = [row.name, _count(sum(hit.count for hit in row.hits)), _count(len(row.near_misses)), ops]
    if _phases(report):
        cells += _sizes(row.prices.get(_phases(report)[-1]))
    for phase in _timed(report):
        price = row.prices.get(phase)
        cells.append("" if price is None or price.seconds is None else seconds_text(price.seconds))
    if proven:
        cells.append("" if row.proof is None else _proof(row.proof))
    return [*cells, seconds_text(row.seconds)]


def _count(number: int) -> str:
    return str(number) if number else ""


def _sizes(price: Price | None) -> list[str]:
    if price is None:
        return ["", ""]
    return [str(price.launches), size_text(price.weight_bytes + price.activation_bytes + price.cache_bytes)]


def _proof(proof: Proof) -> str:
    if proof.status == "measured":
        figures = [("KL", proof.kl), ("logits", proof.logit_error)]
        return "measured " + ", ".join(f"{name} {value:.2g}" for name, value in figures if value is not None)
    if proof.error is None or proof.bound is None:
        return proof.status
    return f"{proof.status} {proof.error:.1e} of {proof.bound:.1e}"


def _remarks(report: PipelineReport) -> list[str]:
    took = sum(row.seconds for row in report.passes)
    proofs = [row.proof.seconds for row in report.passes if row.proof is not None]
    more = f", proofs {seconds_text(sum(proofs))}" if proofs else ""
    lines = [f"{counted(len(report.passes), 'pass', 'passes')} over {report.program} took {seconds_text(took)}{more}"]
    if proofs:
        lines.append("proof: the largest error of an answer in float64, of what rounding explains there")
    if phases := _phases(report):
        workload = report.workload
        size = f"batch {workload.batch}, a prompt of {workload.prefill_length} tokens"
        cache = f", decode with {workload.decode_context} in the cache" if "decode" in phases else ""
        lines.append(f"launches and bytes: of {phases[-1]}; {size}{cache}")
    if report.machine is not None:
        lines.append(f"times: roofline of {report.machine.name} ({report.machine.source})")
    return [*lines, *(f"note: {note}" for note in report.notes)]
