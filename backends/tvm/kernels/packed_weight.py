"""How a matrix of few bits lies in memory: one layout for all kernels that read it, whatever the number of rows.

Sixteen rows of the matrix are the lanes of a vector, and a step of 64 bytes holds for each of them as many consecutive
codes as fill 32 bits: four of 8 bits, or eight of 4 bits, of which the low halves of the bytes are the first four and
the high halves the others. So four codes of one row meet four of a token in one lane, which is what integer dot
products multiply, and the steps of sixteen rows follow each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

LANES = 16
"""Rows of the matrix side by side in a step."""

STEP_BYTES = 4 * LANES


@dataclass(frozen=True)
class PackedWeight:
    """A matrix [outer, inner] in codes of 4 or 8 bits, one scale for each `group` codes of a row (0: for all of it).

    Codes are unsigned: what they stand for is (code - zero point) * scale, where without zero points the middle of
    their range is zero. In memory:

        codes        u8[blocks, steps, 64]
        scales       u8[blocks, groups, 16 * bytes of a scale], which are floats of the type `scale`
        zero points  u8[blocks, groups, 16]

    Rows and columns that the matrix lacks have codes, scales and zero points of 0.
    """

    outer: int
    inner: int
    bits: int
    group: int
    scale: Literal["float16", "bfloat16", "float32"]
    zero_points: bool

    def __post_init__(self) -> None:
        if self.bits not in (4, 8) or self.group % self.step:
            raise ValueError(f"no kernel reads codes of {self.bits} bits in groups of {self.group}")

    @property
    def step(self) -> int:
        """Codes of one row in a step."""
        return 32 // self.bits

    @property
    def blocks(self) -> int:
        """Sixteens of rows; the last may be cut short."""
        return -(-self.outer // LANES)

    @property
    def steps(self) -> int:
        """Steps of a block; the last may be cut short."""
        return -(-self.inner // self.step)

    @property
    def groups(self) -> int:
        """Scales of a row."""
        return -(-self.inner // self.group) if self.group else 1

    @property
    def middle(self) -> int:
        """The code of zero where there are no zero points."""
        return 1 << (self.bits - 1)

    @property
    def codes_shape(self) -> tuple[int, int, int]:
        return (self.blocks, self.steps, STEP_BYTES)

    @property
    def scales_shape(self) -> tuple[int, int, int]:
        return (self.blocks, self.groups, LANES * (4 if self.scale == "float32" else 2))

    @property
    def zero_points_shape(self) -> tuple[int, int, int]:
        return (self.blocks, self.groups, LANES)


@dataclass(frozen=True)
class Spans:
    """The stretches of a row within which both the weight's and the rounded token's scale stay the same.

    Products are summed as integers within a span, as floats from one to the next.
    """

    weight: PackedWeight
    rounding: int
    """Numbers of a token that share a scale; 0: all of them."""

    def __post_init__(self) -> None:
        longer, shorter = max(self.weight.group, self.rounding), min(self.weight.group, self.rounding)
        if self.rounding % self.weight.step or (shorter and longer % shorter):
            raise ValueError(f"no kernel multiplies groups of {self.weight.group} by groups of {self.rounding}")

    @cached_property
    def steps(self) -> int:
        """Steps of a span; the last span may have fewer."""
        known = [group for group in (self.weight.group, self.rounding) if group]
        return min(min(known) // self.weight.step, self.weight.steps) if known else self.weight.steps

    @property
    def length(self) -> int:
        """Numbers of a span."""
        return self.steps * self.weight.step

    @property
    def count(self) -> int:
        return -(-self.weight.steps // self.steps)

    @property
    def token_groups(self) -> int:
        """Scales of a rounded token."""
        return -(-self.weight.inner // self.rounding) if self.rounding else 1

    @property
    def spans_a_token_group(self) -> int:
        return self.rounding // self.length if self.rounding > self.length else self.count if not self.rounding else 1

    @property
    def spans_a_weight_group(self) -> int:
        group = self.weight.group
        return group // self.length if group > self.length else self.count if not group else 1
