"""The tiles of products with codes: which rows and spans they take at a time, and how their sums go out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from graphwright.backends.tvm.kernels.script import lanes, store, unrolled, when
from graphwright.backends.tvm.tvm_library import T, builder
from graphwright.ir.dialects.cpu.packed_weights import LANES, PackedWeight

SHORT = (1, 2, 4, 6, 8)
"""Rows of the tiles there may be code for beside whole ones, where the number of tokens is not known."""


@dataclass(frozen=True)
class RowTiles:
    """How many tokens a product takes at a time: `rows`, and fewer in the last tile."""

    rows: int

    def padded_rows(self, tokens: Any) -> Any:
        """Rows of a buffer that all tiles may read."""
        return tokens if isinstance(tokens, int) else T.floordiv(tokens + self.rows - 1, self.rows) * self.rows

    def each(self, tokens: Any, tile: Callable[[int, Any], None]) -> None:
        """Emits the tiles, each given its rows and its first row, so that a tile's code reads the weight once.

        Of a number that is not known, the last tile may pass the end.
        """
        if isinstance(tokens, int):
            whole, rest = divmod(tokens, self.rows)
            self._whole(whole, tile)
            if rest:
                tile(rest, whole * self.rows)
            return
        short = [rows for rows in SHORT if rows < self.rows]
        # More rows than the longest of the short tiles has are a whole one.
        whole = T.floordiv(tokens + (self.rows - 1 - short[-1]), self.rows)
        self._whole(whole, tile)
        rest = tokens - whole * self.rows
        for below, rows in zip((0, *short), short, strict=False):
            with when(T.And(rest > below, rest <= rows)):
                tile(rows, whole * self.rows)

    def _whole(self, count: Any, tile: Callable[[int, Any], None]) -> None:
        if isinstance(count, int) and count == 1:
            tile(self.rows, 0)
        elif not isinstance(count, int) or count:
            with builder.serial(count) as number:
                tile(self.rows, number * self.rows)


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


@dataclass(frozen=True)
class BlockOutput:
    """y f32[tokens, outer], and what is added to each row of it."""

    y: Any
    bias: Any | None
    outer: int
    width: int
    """Lanes of a register."""

    def write(self, sums: Sequence[Any], first_row: Any, blocks: Sequence[Any], tokens: Any) -> None:
        """Stores sums f32[rows, 16], one buffer a block; `tokens` is the number of rows of y."""
        rows = int(sums[0].shape[0])
        # Indices that are not known before it runs would keep the sums out of registers.
        with unrolled(rows) as r:
            row = first_row + r
            with nullcontext() if rows == 1 or isinstance(tokens, int) else when(row < tokens):
                for each, block in zip(sums, blocks, strict=True):
                    self._write_row(each, r, row, block * LANES)

    def _write_row(self, sums: Any, r: Any, row: Any, begin: Any) -> None:
        if self.outer % LANES:
            with builder.serial(T.min(LANES, self.outer - begin)) as lane:
                self._store(sums[r, lane], row, begin + lane)
            return
        for place in range(0, LANES, self.width):
            self._store(sums[r, lanes(place, self.width)], row, lanes(begin + place, self.width))

    def _store(self, value: Any, row: Any, column: Any) -> None:
        store(self.y, value if self.bias is None else value + self.bias[column], row, column)
