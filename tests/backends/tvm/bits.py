"""A row's logits are the same to the last bit, whatever the batch, the tokens a step and the chunks of its prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from graphwright.runtime.artifact import open_artifact
from graphwright.runtime.cache import KVCache
from graphwright.runtime.decoder import Decoder
from graphwright.runtime.session import Session

LENGTH = 150
"""Tokens of the row: more than two blocks of keys."""
EXAMPLES = 12


@dataclass(frozen=True)
class Feeding:
    """How a row is fed among others: `steps` are the tokens of each row in each step, `place` is which one is ours."""

    steps: tuple[tuple[int, ...], ...]
    place: int
    room: int
    """Places of the caches that stay empty."""
    all_logits: bool
    threads: int


@st.composite
def feedings(draw: st.DrawFn) -> Feeding:
    # Tiles of products are of up to eight rows: fewer, and one tile and two with some left over.
    batch = draw(st.one_of(st.integers(1, 9), st.sampled_from((11, 16, 17))))
    place = draw(st.integers(0, batch - 1))
    steps: list[tuple[int, ...]] = []
    left = LENGTH
    while left > 0 and len(steps) < 12:
        # Runs of single tokens as generation has them, and chunks.
        size = draw(st.sampled_from((1, 1, 1, 2, 3, 4, 7, 8, 9, 13, 40, LENGTH)))
        own = min(size, left)
        others = [draw(st.integers(1, own)) if own > 1 else 1 for _ in range(batch)]
        if draw(st.booleans()):
            others[0] = draw(st.integers(1, 6))  # so that ours may be padded
        others[place] = own
        steps.append(tuple(others))
        left -= own
    flags = draw(st.integers(0, 100)), draw(st.booleans()), draw(st.integers(1, 2))
    return Feeding(tuple(steps), place, *flags)


def same_bits(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))


def check_bits(
    folder: Path,
    vocabulary: int,
    compare: Callable[[np.ndarray[Any, Any], np.ndarray[Any, Any]], None] = same_bits,
) -> None:
    """Feeds a row of random tokens in many ways, and compares logits with those of one token at a time, by itself."""
    random = np.random.default_rng(0)
    sessions = {threads: Session(open_artifact(folder), threads=threads) for threads in (1, 2)}
    row = random.integers(0, vocabulary, LENGTH)
    alone = [(1,)] * LENGTH
    expected = logits_of(sessions[1], Feeding(tuple(alone), 0, 0, False, 1), [row])

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
    @given(feedings())
    def equal(feeding: Feeding) -> None:
        rows = [random.integers(0, vocabulary, sum(sizes)) for sizes in zip(*feeding.steps, strict=True)]
        rows[feeding.place] = row
        found = logits_of(sessions[feeding.threads], feeding, rows)
        for position, logits in found.items():
            compare(logits, expected[position])

    equal()


def logits_of(
    session: Session, feeding: Feeding, rows: Sequence[np.ndarray[Any, Any]]
) -> dict[int, np.ndarray[Any, Any]]:
    """The logits of our row by position: of all tokens, or of the last of each step."""
    capacity = max(map(len, rows)) + feeding.room + max(max(sizes) for sizes in feeding.steps)
    cache = KVCache(session, len(rows), capacity)
    decoder = Decoder(cache)
    found: dict[int, np.ndarray[Any, Any]] = {}
    for sizes in feeding.steps:
        new, most = np.array(sizes), max(sizes)
        ids = np.zeros((len(rows), most), np.int64)
        for i, (row, size, past) in enumerate(zip(rows, sizes, cache.lengths, strict=True)):
            ids[i, :size] = row[past : past + size]
        wanted = np.tile(np.arange(most), (len(rows), 1)) if feeding.all_logits else new[:, None] - 1
        logits = decoder.step(ids, new, np.ascontiguousarray(wanted))
        past = int(cache.lengths[feeding.place])
        for position, each in zip(wanted[feeding.place], logits[feeding.place], strict=True):
            if position < sizes[feeding.place]:
                found[past + int(position)] = each.copy()
        cache.advance(new)
    return found
