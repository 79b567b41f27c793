"""How kernels cut rows into vectors and work into parallel iterations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.tvm_library import T

SMALL = 4096
"""Elements that one thread passes through before another has seen the barrier: such a stage is serial."""
COLUMNS = 64
"""Columns of a row that are one iteration where elements are independent. A power of two."""


def lanes_within(cpu: Cpu, size: int) -> int:
    """The widest vector of float32, a power of two, that divides rows of that size."""
    lanes = cpu.float_lanes
    while size % lanes:
        lanes //= 2
    return lanes


def span(start: Any, lanes: int) -> Any:
    """The index of so many neighbours."""
    return T.ramp(start, 1, lanes) if lanes > 1 else start


def within(*row: Any, offset: Any = None) -> Callable[[Any], tuple[Any, ...]]:
    """Of places in a row the index in a buffer whose last axis holds it, from an offset on."""
    return lambda place: (*row, place if offset is None else offset + place)


def filled(value: Any, lanes: int) -> Any:
    """A vector of one float32; a number where there is one lane."""
    scalar = T.float32(value) if isinstance(value, int | float) else value
    return T.broadcast(scalar, lanes) if lanes > 1 else scalar


def stage_loop(rows: int | None, elements: int) -> Any:
    """The loop of a stage over rows of so many elements each: parallel, unless it is known to be small."""
    return T.serial if rows is not None and rows * elements <= SMALL else T.parallel


def tree_sum(terms: list[Any]) -> Any:
    """The sum of the terms, by halves: as exact as it is fast."""
    if len(terms) == 1:
        return terms[0]
    half = len(terms) // 2
    return tree_sum(terms[:half]) + tree_sum(terms[half:])
