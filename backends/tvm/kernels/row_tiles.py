"""Which rows of tokens a product takes at a time, known or found at run time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphwright.backends.tvm.kernels.script import when
from graphwright.backends.tvm.tvm_library import T, builder

FEW = (1, 4, 8)
"""Numbers of tokens for which there is code of its own where the number is not known."""

MANY = 8
"""Rows of a tile where there are more tokens. A power of two: TVM's analyses take minutes over multiples of 12."""


def few_known(tokens: Any) -> bool:
    """Whether it is known that there are few tokens."""
    return isinstance(tokens, int) and tokens <= FEW[-1]


def padded_rows(tokens: Any) -> Any:
    """Rows of a buffer that whole tiles may read."""
    return tokens if few_known(tokens) else _tiles(tokens) * MANY


def few_rows(tokens: Any, tile: Callable[[int], None]) -> None:
    """Emits the tile for few tokens: of as many rows as there are, or of the next larger number."""
    if isinstance(tokens, int):
        if few_known(tokens):
            tile(tokens)
        return
    for below, rows in zip((0, *FEW), FEW, strict=False):
        with when(T.And(tokens > below, tokens <= rows)):
            tile(rows)


def many_rows(tokens: Any, tile: Callable[[int, Any], None]) -> None:
    """Emits a loop of tiles, each given its rows and its first row, for more tokens. The last may pass the end."""
    if isinstance(tokens, int):
        if not few_known(tokens):
            with builder.serial(_tiles(tokens)) as number:
                tile(MANY, number * MANY)
        return
    with when(tokens > FEW[-1]), builder.serial(_tiles(tokens)) as number:
        tile(MANY, number * MANY)


def _tiles(tokens: Any) -> Any:
    if isinstance(tokens, int):
        return -(-tokens // MANY)
    return T.floordiv(tokens + MANY - 1, MANY)
