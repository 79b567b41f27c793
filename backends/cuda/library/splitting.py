"""Into how many parts the inner size of a product of few rows is split: what keeps memory busy, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass

from graphwright.backends.cuda.gpu import Gpu
from graphwright.backends.cuda.library.layouts import codes_in_a_byte
from graphwright.backends.kernel_library import Problem
from graphwright.ir.dims import product
from graphwright.ir.types import QuantizedType, TensorType

SPLITS = (1, 2, 4, 8, 16)
MOST_ROWS = 16
COUNTERS = 4096
"""Tiles of columns that programs of several splits can be counted in."""
LATENCY = 0.8e-6
"""Seconds from a load until its number is there, while memory is busy. An estimate: so much must be on its way."""
COMBINING = 2e-6
"""Seconds of a store, an atomic addition and a load, one after another, which the last program adds. An estimate."""


@dataclass(frozen=True)
class Read:
    """A matrix that a product of few rows reads: columns of the result, codes or numbers of a row and of a byte."""

    rows: int
    columns: int
    inner: int
    in_a_byte: float


def few_rows_read(problem: Problem) -> Read | None:
    """What a product reads that may be split; None for one with many rows, or with a gate, which has columns enough."""
    x, weight = problem.operands[:2]
    assert isinstance(x, TensorType)
    assert isinstance(weight, TensorType | QuantizedType)
    rows = product(x.shape[:-1]).constant
    columns, inner = (size.constant for size in weight.shape)
    if rows is None or rows > MOST_ROWS or columns is None or inner is None or problem.attributes.get("gated"):
        return None
    in_a_byte = codes_in_a_byte(weight) if isinstance(weight, QuantizedType) else 8 / weight.dtype.bits
    return Read(rows, columns, inner, in_a_byte)


def splits_refusal(problem: Problem, splits: int) -> str | None:
    """Why a product is not split into so many parts."""
    if splits == 1:
        return None
    read = few_rows_read(problem)
    if read is None:
        return f"products of at most {MOST_ROWS} rows without a gate are split"
    return None if read.columns <= COUNTERS else f"of more than {COUNTERS} columns there are tiles enough"


def cheapest_splits(gpu: Gpu, read: Read, columns: int, depth: int, ahead: int = 1) -> int:
    """The parts by which the product takes least time, if a tile has so many columns and a step is so deep.

    A program has `ahead` tiles on their way. Memory is busy as far as every multiprocessor has a program, and as much
    is on its way as comes in the time that a load takes; more programs cost `COMBINING`.
    """
    tiles, steps = -(-read.columns // columns), -(-read.inner // depth)
    tile_bytes = columns * depth / read.in_a_byte

    def seconds(splits: int) -> float:
        programs = tiles * splits
        busy = min(1, programs / gpu.multiprocessors, programs * ahead * tile_bytes / gpu.bytes_per_second / LATENCY)
        moved = read.columns * read.inner / read.in_a_byte
        return moved / gpu.bytes_per_second / busy + (COMBINING if splits > 1 else 0)

    # Two steps at least: else nothing is ahead.
    possible = [s for s in SPLITS if s == 1 or (2 * s <= steps and read.columns <= COUNTERS)]
    return min(possible, key=seconds)
