"""Vectors turned in registers: so many vectors of so many lanes to their columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphwright.backends.tvm.tvm_library import T, tirx


def transposed(vectors: Sequence[Any]) -> list[Any]:
    """The columns of as many vectors as they have lanes, a power of two; written into the script that calls.

    Each step interleaves the vectors of the first half with those of the second (a perfect shuffle; Stone 1971); after
    log2(lanes) steps they are turned.
    """
    lanes = len(vectors)
    low = [i // 2 + i % 2 * lanes for i in range(lanes)]
    high = [lanes // 2 + i for i in low]
    turned = [T.Bind(vector) for vector in vectors]
    for _ in range(lanes.bit_length() - 1):
        pairs = list(zip(turned[: lanes // 2], turned[lanes // 2 :], strict=True))
        turned = [T.Bind(tirx.Shuffle(pair, indices)) for pair in map(list, pairs) for indices in (low, high)]
    return turned
