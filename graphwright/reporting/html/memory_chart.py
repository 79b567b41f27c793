"""Memory by part against the length of the context, as stacked areas."""

from dataclasses import dataclass
from typing import Literal, get_args

from graphwright.reporting.html.scales import LinearScale
from graphwright.reporting.pipeline_report import MemoryPoint

WIDTH, HEIGHT = 960.0, 380.0
LEFT, RIGHT, TOP, BOTTOM = 92.0, 28.0, 16.0, 56.0

Part = Literal["weights", "cache", "activations"]


@dataclass(frozen=True)
class Area:
    """One part, between the sum of those under it and its own: the points of a polygon, and of its upper edge."""

    part: Part
    outline: str
    edge: str


@dataclass(frozen=True)
class MemoryChart:
    x: LinearScale
    y: LinearScale
    areas: list[Area]


def memory_chart(points: list[MemoryPoint]) -> MemoryChart | None:
    """The chart; None for fewer than two lengths, between which there is nothing to draw."""
    points = sorted(points, key=lambda point: point.context)
    if len({point.context for point in points}) < 2:
        return None
    x = LinearScale.upto(points[-1].context, LEFT, WIDTH - RIGHT, open_end=False)
    y = LinearScale.upto(max(total(point) for point in points), HEIGHT - BOTTOM, TOP, open_end=True)
    areas: list[Area] = []
    below = [0] * len(points)
    for part in get_args(Part):
        above = [under + getattr(point, part) for under, point in zip(below, points, strict=True)]
        edge = [(x.place(point.context), y.place(level)) for point, level in zip(points, above, strict=True)]
        base = [(x.place(point.context), y.place(level)) for point, level in zip(points, below, strict=True)]
        areas.append(Area(part, _places(edge + base[::-1]), _places(edge)))
        below = above
    return MemoryChart(x, y, areas)


def total(point: MemoryPoint) -> int:
    return point.weights + point.cache + point.activations


def _places(points: list[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
