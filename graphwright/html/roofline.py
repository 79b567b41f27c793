"""The roofline plot: what each kind of op computes a second, against what it computes a byte.

Williams, Waterman, Patterson, "Roofline: an insightful visual performance model", CACM 52 (2009).
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace

from graphwright.html.labels import LETTER_WIDTH, Box, Label, place_labels
from graphwright.html.quantities import rate_text
from graphwright.html.scales import LogScale
from graphwright.pipeline_report import Kind, MachineRow, Phase, PipelineReport

WIDTH, HEIGHT = 960.0, 520.0
LEFT, RIGHT, TOP, BOTTOM = 92.0, 20.0, 16.0, 56.0
SMALLEST, LARGEST = 4.0, 13.0
"""Radii of points; their area says what part of its phase's time a kind takes."""


@dataclass(frozen=True)
class Point:
    kind: Kind
    x: float
    y: float
    radius: float
    label: Label | None = None

    @property
    def box(self) -> Box:
        return Box(self.x - self.radius, self.y - self.radius, self.x + self.radius, self.y + self.radius)


@dataclass(frozen=True)
class Roof:
    """The peak rate of some element types, from the machine's ridge on; its text is anchored at its end."""

    text: str
    x: float
    y: float
    text_x: float
    text_y: float

    @property
    def box(self) -> Box:
        """Where its text stands."""
        return Box(self.text_x - len(self.text) * LETTER_WIDTH, self.text_y - 11, self.text_x, self.text_y + 3)


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
    rates = list(machine.flops_per_second.values())
    ridges = [rate / machine.bytes_per_second for rate in rates]
    x = LogScale.around([*map(intensity, kinds), min(ridges), max(ridges) * 4], LEFT, WIDTH - RIGHT)
    y = LogScale.around([*(rate(kind) or 0.0 for kind in kinds), max(rates) * 1.5], HEIGHT - BOTTOM, TOP)
    spots = _spots(report, kinds, x, y)
    roofs = _roofs(machine, x, y, spots)
    return Roofline(x, y, roofs, _slope(machine, x, y), _points(spots, roofs))


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


def _spots(report: PipelineReport, kinds: list[Kind], x: LogScale, y: LogScale) -> list[Point]:
    """The points, their phase's largest parts first, without labels."""
    totals = shares(report)
    spots: list[Point] = []
    for kind in kinds:
        share = (kind.seconds or 0.0) / totals[kind.phase]
        radius = max(SMALLEST, LARGEST * math.sqrt(share))
        spots.append(Point(kind, x.place(intensity(kind)), y.place(rate(kind) or 0.0), radius))
    return sorted(spots, key=lambda spot: -spot.radius)


def _points(spots: list[Point], roofs: list[Roof]) -> list[Point]:
    frame = Box(LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM)
    named = [(spot.x, spot.y, spot.radius, spot.kind.op) for spot in spots]
    labels = place_labels(named, frame, [roof.box for roof in roofs])
    return [replace(spot, label=label) for spot, label in zip(spots, labels, strict=True)]


def _roofs(machine: MachineRow, x: LogScale, y: LogScale, spots: list[Point]) -> list[Roof]:
    names: dict[float, list[str]] = defaultdict(list)
    for name, peak in machine.flops_per_second.items():
        names[peak].append(name)
    taken = [spot.box for spot in spots]
    roofs: list[Roof] = []
    for peak in sorted(names, reverse=True):
        text = f"{', '.join(sorted(names[peak]))}: {rate_text(peak, 'FLOP/s')}"
        ridge, place = x.place(peak / machine.bytes_per_second), y.place(peak)
        # Over the line, under it or well over it, as far to the right as points and other names allow.
        places = [
            (WIDTH - RIGHT - 4 - shift, place + side) for side in (-6.0, 14.0, -20.0) for shift in range(0, 400, 20)
        ]
        candidates = [Roof(text, ridge, place, *spot) for spot in places]
        free = (roof for roof in candidates if roof.box.left > ridge and not any(roof.box.meets(o) for o in taken))
        roofs.append(next(free, candidates[0]))
        taken.append(roofs[-1].box)
    return roofs


def _slope(machine: MachineRow, x: LogScale, y: LogScale) -> Slope:
    speed, peak = machine.bytes_per_second, max(machine.flops_per_second.values())
    first = max(10.0**x.low, 10.0**y.low / speed)
    x1, y1, x2, y2 = x.place(first), y.place(first * speed), x.place(peak / speed), y.place(peak)
    angle = math.degrees(math.atan2(y2 - y1, x2 - x1))
    # Near its lower end, where no point is as fast as memory allows.
    text_x, text_y = x1 + (x2 - x1) * 0.2, y1 + (y2 - y1) * 0.2
    return Slope(f"memory: {rate_text(speed, 'B/s')}", x1, y1, x2, y2, text_x, text_y, angle)
