"""The stretches of a packed matrix's rows in which integers are summed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from graphwright.ir.dialects.cpu.packed_weights import PackedWeight


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
