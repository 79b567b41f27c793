"""The page: one file that loads nothing, made from the templates beside this file."""

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from graphwright.reporting.html import memory_chart, quantities, roofline
from graphwright.reporting.html.headline import cards, moved_bytes, phases
from graphwright.reporting.pipeline_report import PassRow, Phase, PipelineReport, Price
from graphwright.runtime.printable import for_terminal

_FILTERS: dict[str, Any] = {
    "bytes": quantities.bytes_text,
    "seconds": quantities.seconds_text,
    "count": quantities.count_text,
    "error": quantities.error_text,
    "digits": quantities.digits,
    "rate": quantities.rate_text,
    "short": quantities.short,
    "moved": moved_bytes,
    "total": memory_chart.total,
    "intensity": roofline.intensity,
    "flops_per_second": roofline.rate,
}
_TESTS: dict[str, Any] = {"placed": roofline.has_place}


@dataclass(frozen=True)
class Step:
    """A row of the table of passes, and the prices before it, so that what a pass left alone can be told."""

    row: PassRow
    before: dict[Phase, Price]
    hits: int
    added: int
    removed: int


def render(report: PipelineReport) -> str:
    """The HTML of a page about a run of passes: self-contained, and every text of the report is escaped."""
    style, script = _source("page.css"), _source("page.js")
    return (
        _environment()
        .get_template("page.html")
        .render(
            report=report,
            style=style,
            script=script,
            # The page may run these two texts and load nothing at all.
            policy=f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; img-src data:; "
            "base-uri 'none'; form-action 'none'",
            cards=cards(report),
            phases=phases(report),
            steps=_steps(report),
            roofline=roofline.roofline(report),
            roofline_page=roofline,
            kinds=roofline.by_weight(report),
            kind_seconds=roofline.shares(report),
            memory=memory_chart.memory_chart(report.memory),
            memory_page=memory_chart,
            data={"graph": report.graph, "diffs": [row.diff for row in report.passes]},
        )
    )


def _steps(report: PipelineReport) -> list[Step]:
    steps: list[Step] = []
    before = report.before
    for row in report.passes:
        lines = row.diff.splitlines()
        added, removed = (sum(line.startswith(sign) for line in lines) for sign in "+-")
        steps.append(Step(row, before, sum(hit.count for hit in row.hits), added, removed))
        before = row.prices
    return steps


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("graphwright.reporting.html"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)
    environment.tests.update(_TESTS)
    return environment


def _shown(value: Any) -> Any:
    """Control characters in a name of a program, which a browser would not show, are spelt out; our markup stays."""
    return for_terminal(value) if type(value) is str else value


@cache
def _source(name: str) -> str:
    return files("graphwright.reporting.html").joinpath("templates", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
