"""The sums of a tile on their way out: bias added, rows past the end left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graphwright.backends.tvm.kernels.script import lanes, store, unrolled
from graphwright.backends.tvm.tvm_library import T, builder
from graphwright.ir.dialects.cpu.packed_weights import LANES


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
