"""The roofline plot: what each kind of op computes a second, against what it computes a byte.

Williams, Waterman, Patterson, "Roofline: an insightful visual performance model", CACM 52 (2009).
"""

import math
from collections import defaultdict
from dataclasses import dataclass

from graphwright.reporting.html.labels import LETTER_WIDTH, LINE_HEIGHT, Box, Label, place_labels
from graphwright.reporting.html.quantities import rate_text
from graphwright.reporting.html.scales import LogScale
from graphwright.reporting.pipeline_report import Kind, MachineRow, Phase, PipelineReport

WIDTH, HEIGHT = 960.0, 520.0
LEFT, TOP, BOTTOM = 92.0, 16.0, 56.0
SMALLEST, LARGEST = 4.0, 13.0
"""Radii of points; their area says what part of its phase's time a kind takes."""

LEADER = 20.0
"""From the end of a roof to its name."""


@dataclass(frozen=True)
class Point:
    kind: Kind
    x: float
    y: float
    radius: float
    label: Label | None


@dataclass(frozen=True)
class Roof:
    """The peak rate of some element types, from the machine's ridge on; its text stands right of the plot."""

    text: str
    x: float
    y: float
    text_y: float


@dataclass(frozen=True)
class Slope:
    """The memory bandwidth, up to the highest ridge; its text lies along it, turned by `angle` degrees."""

    text: str
    x1: float
    y1: float
    x2: float
    y2: float
    text_x: float
    text_y: float
    angle: float


@dataclass(frozen=True)
class Roofline:
    x: LogScale
    y: LogScale
    roofs: list[Roof]
    slope: Slope
    points: list[Point]


def roofline(report: PipelineReport) -> Roofline | None:
    """The plot; None without a machine, or where no kind of op computes anything."""
    machine, kinds = report.machine, [kind for kind in report.kinds if has_place(kind)]
    if machine is None or not kinds:
        return None
    names = _peaks(machine)
    right = WIDTH - max(map(len, names.values())) * LETTER_WIDTH - LEADER
    ridges = [peak / machine.bytes_per_second for peak in names]
    # Room beyond the first and the last point, so that none lies on the frame.
    ends = [end for kind in kinds for end in (intensity(kind) / 1.5, intensity(kind) * 1.5)]
    x = LogScale.around([*ends, min(ridges), max(ridges) * 4], LEFT, right)
    y = LogScale.around([*(rate(kind) or 0.0 for kind in kinds), max(names) * 1.5], HEIGHT - BOTTOM, TOP)
    return Roofline(x, y, _roofs(machine, names, x, y), _slope(machine, x, y), _points(report, kinds, x, y))


def has_place(kind: Kind) -> bool:
    """Whether a kind has a place on logarithmic axes: it computes, moves bytes and takes time."""
    return kind.flops > 0 and kind.bytes > 0 and kind.seconds is not None and 0 < kind.seconds < math.inf


def intensity(kind: Kind) -> float:
    """FLOPs a byte."""
    return kind.flops / kind.bytes if kind.bytes else 0.0


def rate(kind: Kind) -> float | None:
    """FLOPs a second."""
    return kind.flops / kind.seconds if kind.seconds else None


def shares(report: PipelineReport) -> dict[Phase, float]:
    """The seconds of each phase, over which a kind's part is reckoned."""
    totals: dict[Phase, float] = defaultdict(float)
    for kind in report.kinds:
        totals[kind.phase] += kind.seconds or 0.0
    return totals


def by_weight(report: PipelineReport) -> list[Kind]:
    """The kinds, each phase's costliest first."""
    order = list(dict.fromkeys(kind.phase for kind in report.kinds))
    return sorted(report.kinds, key=lambda kind: (order.index(kind.phase), -(kind.seconds or 0.0), -kind.bytes))


def _points(report: PipelineReport, kinds: list[Kind], x: LogScale, y: LogScale) -> list[Point]:
    totals = shares(report)

    def share(kind: Kind) -> float:
        return (kind.seconds or 0.0) / totals[kind.phase]

    kinds = sorted(kinds, key=share, reverse=True)
    spots = [
        (x.place(intensity(k)), y.place(rate(k) or 0.0), max(SMALLEST, LARGEST * math.sqrt(share(k)))) for k in kinds
    ]
    frame = Box(x.start, y.end, x.end, y.start)
    labels = place_labels([(*spot, kind.op) for spot, kind in zip(spots, kinds, strict=True)], frame)
    return [Point(kind, *spot, label) for kind, spot, label in zip(kinds, spots, labels, strict=True)]


def _peaks(machine: MachineRow) -> dict[float, str]:
    """The names of the roofs, the highest first; element types of one rate share one."""
    types: dict[float, list[str]] = defaultdict(list)
    for name, peak in machine.flops_per_second.items():
        types[peak].append(name)
    return {
        peak: f"{', '.join(sorted(types[peak]))}: {rate_text(peak, 'FLOP/s')}" for peak in sorted(types, reverse=True)
    }


def _roofs(machine: MachineRow, names: dict[float, str], x: LogScale, y: LogScale) -> list[Roof]:
    roofs: list[Roof] = []
    for peak, text in names.items():
        place = y.place(peak)
        lowest = roofs[-1].text_y + LINE_HEIGHT if roofs else 0.0
        roofs.append(Roof(text, x.place(peak / machine.bytes_per_second), place, max(place + 4, lowest)))
    return roofs


def _slope(machine: MachineRow, x: LogScale, y: LogScale) -> Slope:
    speed, peak = machine.bytes_per_second, max(machine.flops_per_second.values())
    first = max(10.0**x.low, 10.0**y.low / speed)
    x1, y1, x2, y2 = x.place(first), y.place(first * speed), x.place(peak / speed), y.place(peak)
    angle = math.degrees(math.atan2(y2 - y1, x2 - x1))
    # Near its lower end, where no point is as fast as memory allows.
    text_x, text_y = x1 + (x2 - x1) * 0.2, y1 + (y2 - y1) * 0.2
    return Slope(f"memory: {rate_text(speed, 'B/s')}", x1, y1, x2, y2, text_x, text_y, angle)
