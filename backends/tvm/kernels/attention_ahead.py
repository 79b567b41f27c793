"""What decode asks of memory while it works on a block of keys: the next one, spread over all that is done.

The processor asks ahead by itself only where it reads. It reads keys as they are turned and values as they are weighed;
in between memory would rest.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphwright.backends.tvm.kernels.attention_form import Tiling
from graphwright.backends.tvm.tvm_library import T

LINE = 64
"""Bytes that memory gives at a time."""
SECOND_LEVEL = 2
"""The cache that is asked to hold what comes next, as `llvm.prefetch` counts: the nearest holds the block at hand."""


class NextBlock:
    """Asks for the block from key `first` on, while the one before it is worked on.

    Each method asks for its part of the block's lines, in steps: turning keys for three quarters of the keys, scoring
    for the others and a quarter of the values, weighing values for what is left. What stands in a ring does not follow
    by address: it is not for that.
    """

    def __init__(self, tiling: Tiling) -> None:
        self.tiling = tiling
        self.squares = tiling.keys // tiling.lanes * (tiling.turned_rows // tiling.lanes)

    def turning(self, k: Any, item: Any, first: Any, square: Any) -> None:
        """At one of the squares that keys are turned in."""
        lines = self._lines(k) - self._scored(k)
        self._ask(k, item, first, 0, lines, square, self.squares)

    def scoring(self, k: Any, v: Any, item: Any, first: Any, d: Any) -> None:
        """At one element of keys and queries."""
        steps, scored = self.tiling.form.head_size, self._scored(k)
        self._ask(k, item, first, self._lines(k) - scored, scored, d, steps)
        self._ask(v, item, first, 0, self._scored(v), d, steps)

    def meeting(self, k: Any, item: Any, first: Any, step: Any, steps: int) -> None:
        """At one of all steps in which queries meet keys that are not turned."""
        self._ask(k, item, first, 0, self._lines(k), step, steps)

    def weighing(self, v: Any, item: Any, first: Any, key: Any) -> None:
        """At one key's value."""
        scored = self._scored(v)
        self._ask(v, item, first, scored, self._lines(v) - scored, key, self.tiling.keys)

    def _lines(self, x: Any) -> int:
        return self.tiling.keys * _lines_of_a_row(x)

    def _scored(self, x: Any) -> int:
        """Lines that are asked for while scores are summed: as many at each step, and once."""
        if self.tiling.row_tiles > 1 or self.tiling.by_bytes or self.tiling.in_lanes:
            return 0
        steps = self.tiling.form.head_size
        return self._lines(x) // 4 // steps * steps

    def _ask(self, x: Any, item: Any, first: Any, begin: int, lines: int, step: Any, steps: int) -> None:
        """One of so many steps through `lines` lines of the next block, from `begin` on."""
        a_row = _lines_of_a_row(x)
        at_once = -(-lines // steps) if steps else 0
        for i in range(at_once):
            line = begin + step * at_once + i
            place = x[item.b, item.head, first + line // a_row, line % a_row * (LINE // _bytes(x))]
            T.evaluate(T.call_llvm_intrin("void", "llvm.prefetch", T.address_of(place), 0, SECOND_LEVEL, 1))


def _bytes(x: Any) -> int:
    """Of one number."""
    return np.dtype(str(x.ty.dtype)).itemsize


def _lines_of_a_row(x: Any) -> int:
    return -(-int(x.shape[3]) * _bytes(x) // LINE)
