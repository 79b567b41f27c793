"""Names beside points, where there is room for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

LETTER_WIDTH = 6.6
"""Of a letter of 12 pixels, wider than most: a label that is thought too long only keeps more room."""

LINE_HEIGHT = 13.0
GAP = 4.0

Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True)
class Label:
    """Text whose baseline is at y, anchored at x."""

    x: float
    y: float
    anchor: Anchor


@dataclass(frozen=True)
class Box:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def holds(self, other: Box) -> bool:
        return (
            self.left <= other.left
            and self.top <= other.top
            and self.right >= other.right
            and self.bottom >= other.bottom
        )


def place_labels(points: Sequence[tuple[float, float, float, str]], within: Box) -> list[Label | None]:
    """A label for each point (x, y, radius, text), the first ones first; None where every side of it is taken."""
    taken = [Box(x - r, y - r, x + r, y + r) for x, y, r, _ in points]
    placed: list[Label | None] = []
    for index, (x, y, radius, text) in enumerate(points):
        width, reach = len(text) * LETTER_WIDTH, radius + GAP
        others = [box for i, box in enumerate(taken) if i != index]
        candidates: list[tuple[Label, Box]] = []
        for dx, dy, anchor in _sides(reach):
            left = x + dx - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
            baseline = y + dy
            candidates.append(
                (Label(x + dx, baseline, anchor), Box(left, baseline - LINE_HEIGHT + 3, left + width, baseline + 3))
            )
        free = next(
            ((label, box) for label, box in candidates if within.holds(box) and not any(box.meets(o) for o in others)),
            None,
        )
        placed.append(None if free is None else free[0])
        if free is not None:
            taken.append(free[1])
    return placed


def _sides(reach: float) -> list[tuple[float, float, Anchor]]:
    """Right, left, over and under, as distances to the label's anchor and baseline."""
    return [(reach, 4.0, "start"), (-reach, 4.0, "end"), (0.0, -reach, "middle"), (0.0, reach + 9.0, "middle")]
