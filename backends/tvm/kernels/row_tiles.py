"""Which rows of tokens a product takes at a time, known or found at run time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphwright.backends.tvm.kernels.script import local, store, when
from graphwright.backends.tvm.tvm_library import T, builder

FEW = (1, 4, 8)
"""Numbers of tokens for which there is code of its own where the number is not known."""

MANY = 12
"""Rows of a tile where there are more tokens: with two blocks of lanes they fill 24 of 32 registers."""


def padded_rows(tokens: Any) -> Any:
    """Rows of a buffer that whole tiles may read."""
    if isinstance(tokens, int):
        return tokens if tokens <= FEW[-1] else -(-tokens // MANY) * MANY
    return tokens + MANY


def few_rows(tokens: Any, tile: Callable[[int], None]) -> None:
    """Emits the tile for few tokens: of as many rows as there are, or of the next larger number."""
    if isinstance(tokens, int):
        if tokens <= FEW[-1]:
            tile(tokens)
        return
    for below, rows in zip((0, *FEW), FEW, strict=False):
        with when(T.And(tokens > below, tokens <= rows)):
            tile(rows)


def many_rows(tokens: Any, tile: Callable[[int, Any], None]) -> None:
    """Emits a loop of tiles for more tokens than few; the last may reach past the end."""
    if isinstance(tokens, int) and tokens <= FEW[-1]:
        return
    if isinstance(tokens, int):
        with builder.serial(padded_rows(tokens) // MANY) as number:
            tile(MANY, number * MANY)
        return
    with when(tokens > FEW[-1]):
        # A register that is counted up: TVM's analyses take minutes over multiples of 12 of an unknown number.
        first = local("first", (1,), "int64")
        store(first, T.int64(0), 0)
        with builder.serial(T.floordiv(tokens + MANY - 1, MANY)):
            tile(MANY, first[0])
            store(first, first[0] + MANY, 0)
