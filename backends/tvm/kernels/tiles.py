"""The tiles of products with codes: which rows and spans they take at a time, and how their sums go out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.kernels.script import lanes, store, unrolled, when
from graphwright.backends.tvm.tvm_library import T, builder
from graphwright.ir.dialects.cpu.packed_weights import LANES, PackedWeight

OWN_CODE = (1, 4, 8)
"""Numbers of tokens for which there may be code of its own where the number is not known."""


@dataclass(frozen=True)
class RowTiles:
    """Which tokens a product takes at a time: `few` together, whether known or not, and of more so `many` a tile.

    `many` is a power of two: TVM's analyses take minutes over multiples of 12.
    """

    few: int
    many: int

    @classmethod
    def of(cls, settings: Settings) -> RowTiles:
        return cls(settings["few"], settings["many"])

    def few_known(self, tokens: Any) -> bool:
        """Whether it is known that there are few tokens."""
        return isinstance(tokens, int) and tokens <= self.few

    def padded_rows(self, tokens: Any) -> Any:
        """Rows of a buffer that whole tiles may read."""
        return tokens if self.few_known(tokens) else self._tiles(tokens) * self.many

    def few_rows(self, tokens: Any, tile: Callable[[int], None]) -> None:
        """Emits the tile for few tokens: of as many rows as there are, or of the next larger number."""
        if isinstance(tokens, int):
            if self.few_known(tokens):
                tile(tokens)
            return
        own = [rows for rows in OWN_CODE if rows <= self.few]
        for below, rows in zip((0, *own), own, strict=False):
            with when(T.And(tokens > below, tokens <= rows)):
                tile(rows)

    def many_rows(self, tokens: Any, tile: Callable[[int, Any], None]) -> None:
        """Emits a loop of tiles, each given its rows and its first row, for more tokens. The last may pass the end."""
        if isinstance(tokens, int):
            if not self.few_known(tokens):
                with builder.serial(self._tiles(tokens)) as number:
                    tile(self.many, number * self.many)
            return
        with when(tokens > self.few), builder.serial(self._tiles(tokens)) as number:
            tile(self.many, number * self.many)

    def _tiles(self, tokens: Any) -> Any:
        if isinstance(tokens, int):
            return -(-tokens // self.many)
        return T.floordiv(tokens + self.many - 1, self.many)


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
        # Indices that are not known before it runs keep the sums out of registers.
        known = rows in (1, tokens)
        with unrolled(rows) if known else builder.serial(T.min(rows, tokens - first_row)) as r:
            for each, block in zip(sums, blocks, strict=True):
                self._write_row(each, r, first_row + r, block * LANES)

    def _write_row(self, sums: Any, r: Any, row: Any, begin: Any) -> None:
        if self.outer % LANES:
            with builder.serial(T.min(LANES, self.outer - begin)) as lane:
                self._store(sums[r, lane], row, begin + lane)
            return
        for place in range(0, LANES, self.width):
            self._store(sums[r, lanes(place, self.width)], row, lanes(begin + place, self.width))

    def _store(self, value: Any, row: Any, column: Any) -> None:
        store(self.y, value if self.bias is None else value + self.bias[column], row, column)
