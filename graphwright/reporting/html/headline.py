"""The figures at the top of the page: before the first pass, and after the last."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import get_args

from graphwright.reporting.html.quantities import (
    FASTER,
    SLOWER,
    bytes_text,
    change_text,
    count_text,
    digits,
    error_text,
    seconds_text,
)
from graphwright.reporting.pipeline_report import PassRow, Phase, PipelineReport, Price


@dataclass(frozen=True)
class Line:
    """One figure; `better` is None where the two are alike."""

    label: str
    before: str
    after: str
    change: str = ""
    better: bool | None = None
    remark: str = ""


@dataclass(frozen=True)
class Card:
    title: str
    lines: tuple[Line, ...]


def phases(report: PipelineReport) -> list[Phase]:
    """The phases that have a price, in the order in which they are shown."""
    priced = set(report.before).union(*(row.prices for row in report.passes))
    return [phase for phase in get_args(Phase) if phase in priced]


def final_prices(report: PipelineReport) -> dict[Phase, Price]:
    return report.passes[-1].prices if report.passes else report.before


def cards(report: PipelineReport) -> list[Card]:
    """The figures in groups; times are left out where no machine was named."""
    made = [_times(report)] if report.machine is not None else []
    made += [
        _figures(report, "Bytes moved", moved_bytes, bytes_text),
        _figures(report, "Launches", lambda price: price.launches, count_text),
        _figures(report, "Peak memory", lambda price: price.peak_bytes, bytes_text),
        _ops(report),
        _proofs(report),
    ]
    return [card for card in made if card.lines]


def moved_bytes(price: Price) -> int:
    """All that a phase reads and writes."""
    return price.weight_bytes + price.activation_bytes + price.cache_bytes


def _times(report: PipelineReport) -> Card:
    def remark(phase: Phase) -> str:
        after, measured = final_prices(report).get(phase), report.measured_seconds.get(phase)
        parts = [f"mostly {after.limit}-bound"] if after is not None and after.limit is not None else []
        parts += [f"measured {seconds_text(measured)}"] if measured is not None else []
        return ", ".join(parts)

    return _figures(report, "Predicted time", lambda price: price.seconds, seconds_text, remark, (FASTER, SLOWER))


def _figures(
    report: PipelineReport,
    title: str,
    figure: Callable[[Price], float | None],
    text: Callable[..., str],
    remark: Callable[[Phase], str] = lambda phase: "",
    words: tuple[str, str] = ("less", "more"),
) -> Card:
    final = final_prices(report)
    lines: list[Line] = []
    for phase in phases(report):
        before, after = (figure(prices[phase]) if phase in prices else None for prices in (report.before, final))
        lines.append(_line(phase, before, after, text, remark(phase), words))
    return Card(title, tuple(lines))


def _line(
    label: str,
    before: float | None,
    after: float | None,
    text: Callable[..., str],
    remark: str = "",
    words: tuple[str, str] = ("less", "more"),
) -> Line:
    change = change_text(before, after, *words)
    better = None if before is None or after is None or change in ("", "unchanged") else after < before
    return Line(label, text(before), text(after), change, better, remark)


def _ops(report: PipelineReport) -> Card:
    if not report.passes:
        return Card("Ops", ())
    line = _line("all graphs", report.passes[0].ops_before, report.passes[-1].ops_after, count_text)
    return Card("Ops", (line,))


def _proofs(report: PipelineReport) -> Card:
    """The proven pass that came closest to its bound, and the lossy one that departed furthest."""
    judged = [row for row in report.passes if row.proof is not None]
    if not judged:
        return Card("Proof", (Line("not asked for", "", NOT_PROVEN, remark="--prove checks the answers of each pass"),))
    return Card("Proof", tuple(_proof_lines(judged, len(report.passes))))


NOT_PROVEN = "none"


def _proof_lines(judged: list[PassRow], passes: int) -> Iterator[Line]:
    exact = sum(row.proof is not None and row.proof.status == "exact" for row in judged)
    proven = [row for row in judged if row.proof is not None and row.proof.status == "proven"]
    measured = [row for row in judged if row.proof is not None and row.proof.status == "measured"]
    if proven:
        worst = max(proven, key=lambda row: bound_share(row) or 0.0)
        assert worst.proof is not None
        share, bound = bound_share(worst), error_text(worst.proof.bound)
        part = "of a bound" if share is None else f"{digits(share * 100)}\u202f% of its bound"
        yield Line("worst error", "", error_text(worst.proof.error), remark=f"{part} {bound}, in {worst.name}")
    if measured:
        worst = max(measured, key=lambda row: (row.proof and row.proof.kl) or 0.0)
        assert worst.proof is not None
        logit = error_text(worst.proof.logit_error)
        yield Line("KL divergence", "", error_text(worst.proof.kl), remark=f"logits off by {logit}, in {worst.name}")
    counts = [f"{len(proven)} proven", f"{exact} unchanged", f"{len(measured)} measured"]
    unproven = passes - len(judged)
    counts += [f"{unproven} without"] if unproven else []
    yield Line("passes", "", f"{len(judged)} of {passes}", remark=", ".join(counts))


def bound_share(row: PassRow) -> float | None:
    """The part of its bound that a pass's error takes."""
    if row.proof is None or row.proof.error is None or row.proof.bound is None:
        return None
    if row.proof.bound == 0:
        return 0.0 if row.proof.error == 0 else float("inf")
    return row.proof.error / row.proof.bound
