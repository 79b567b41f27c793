"""The table as Markdown."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from benchmarks.coverage.causal import FEEDINGS
from benchmarks.coverage.functions import SHAPES
from benchmarks.coverage.reference import STEPS
from benchmarks.coverage.row import Row
from benchmarks.coverage.statistics import summary

LIBRARIES = ("torch", "transformers", "onnx", "onnxruntime")
REASON_LENGTH = 300

INTRODUCTION = """\
One tiny random model of each architecture (its own pattern of layers, windows of 8 tokens, four layers or more) is
captured, compiled with the pipeline `cpu` and compared with the original module: logits of every token, at shapes other
than the traced ones, by the reference interpreter and by the ONNX artifact. Figures are the largest error over the
bound, which is four times eager float32's own distance from float64; the worse of the two engines counts, and up to 1
is right. *prefill* is one pass over 28 tokens, *chunked* the same in pieces, *decode* token by token, *ragged* three
rows of different lengths in pieces that are padded on the right. *greedy* is how many tokens of a continuation are
eager's own.
"""


def document(rows: Sequence[Row], dialect: str, command: str) -> str:
    """The whole page: header, causal models, functions, refusals with their reasons, summary."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    parts = [
        "# Which architectures compile",
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}: graphwright {version('graphwright')}, {libraries}; "
        f"ONNX dialect `{dialect}`.",
        INTRODUCTION.rstrip(),
    ]
    compiled = [row for row in rows if row.errors]
    causal = [row for row in compiled if row.greedy]
    others = [row for row in compiled if not row.greedy]
    if causal:
        parts.append("## Language models\n\n" + _table(causal, tuple(FEEDINGS)))
    if others:
        parts.append("## Encoders and other functions\n\n" + _table(others, tuple(SHAPES)))
    ended = [row for row in rows if row.status in ("refused", "failed")]
    if ended:
        parts.append("## Refused\n\n" + _reasons(ended))
    notes = [f"- {row.architecture}: {note}" for row in rows for note in row.notes]
    if notes:
        parts.append("## Remarks\n\n" + "\n".join(notes))
    parts.append("## Summary\n\n" + totals(rows))
    return "\n\n".join(parts) + "\n"


def totals(rows: Sequence[Row]) -> str:
    """How many were tried, and how they came out."""
    counts = Counter(row.status for row in rows)
    return (
        f"{len(rows)} tried: {counts['right']} right, {counts['refused']} refused, {counts['failed']} failed, "
        f"{counts['wrong']} wrong."
    )


def _table(rows: Sequence[Row], checks: Sequence[str]) -> str:
    greedy = any(row.greedy for row in rows)
    memory = ["bytes a token", "bytes a row"] if greedy else []
    last = [f"greedy {STEPS}"] if greedy else []
    lines = [["architecture", "status", "artifact", "raised", *memory, *checks, *last]]
    for row in rows:
        kept = [str(row.cache_bytes_per_token), str(row.state_bytes)] if greedy else []
        lines.append(
            [
                row.architecture,
                row.status,
                "yes" if row.exported else "no",
                summary(row.operations, set(row.recurrent)),
                *kept,
                *(_worst(row, check) for check in checks),
                *([str(min(row.greedy.values()))] if greedy else []),
            ]
        )
    return _markdown(lines)


def _worst(row: Row, check: str) -> str:
    value = max((by_check.get(check, math.nan) for by_check in row.errors.values()), default=math.nan)
    return f"{value:.2f}" if value < 100 else f"{value:.0e}"


def _reasons(rows: Sequence[Row]) -> str:
    lines = [["architecture", "status", "at", "reason"]]
    for row in sorted(rows, key=lambda row: (row.status, row.stage, row.reason)):
        shown = row.reason if len(row.reason) <= REASON_LENGTH else row.reason[: REASON_LENGTH - 1] + "…"
        lines.append([row.architecture, row.status, row.stage, shown])
    return _markdown(lines)


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    head, *body = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    rows = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)
