"""Pairs of a token and an expert that was chosen for it, ordered by expert (counting sort; Seward 1954)."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.script import iteration, local, shared, store, when
from graphwright.backends.tvm.kernels.tir import lanes_within, span
from graphwright.backends.tvm.tvm_library import T, builder

LINE = 16
"""Numbers of a cache line."""


@dataclass(frozen=True)
class Group:
    """The pairs of one expert: where they begin in the order, and how many there are."""

    expert: Any
    begin: Any
    count: Any


@dataclass(frozen=True)
class ExpertOrder:
    """`pairs` i64[n] are numbers of pairs, token * chosen + place, by expert and then as tokens come; those of expert e
    begin at starts[e], of `starts` i64[experts + 1]."""

    pairs: Any
    starts: Any
    experts: int

    @property
    def buffers(self) -> list[Any]:
        return [self.pairs, self.starts]

    @contextmanager
    def each(self) -> Generator[Group]:
        """A loop over the experts that were chosen by any."""
        bounds = local("bounds", (2,), "int64")
        with builder.serial(self.experts) as expert:
            store(bounds, self.starts[expert], 0)
            store(bounds, self.starts[expert + 1] - self.starts[expert], 1)
            with when(bounds[1] > T.int64(0)):
                yield Group(expert, bounds[0], bounds[1])


def expert_of(indices: Any, token: Any, place: Any, experts: int) -> Any:
    """The number of a chosen expert; one out of range counts as the nearest in it."""
    return T.max(T.min(indices[token, place], T.int64(experts - 1)), T.int64(0))


def order_by_expert(indices: Any, tokens: Any, chosen: int, experts: int) -> ExpertOrder:
    """The stage, of one thread, that orders the pairs of indices i64[tokens, chosen]."""
    pairs = shared("pairs", (tokens * chosen,), "int64")
    starts = shared("starts", (experts + 1,), "int64")
    ends = shared("ends", (experts,), "int64")
    with iteration("order", builder.serial(1), 1, [indices], [pairs, starts, ends]):
        with builder.serial(experts) as expert:
            store(ends, T.int64(0), expert)
        with builder.serial(tokens) as token, builder.serial(chosen) as place:
            expert = expert_of(indices, token, place, experts)
            store(ends, ends[expert] + T.int64(1), expert)
        store(starts, T.int64(0), 0)
        with builder.serial(experts) as expert:
            store(starts, starts[expert] + ends[expert], expert + 1)
            # From here on, where the expert's next pair goes.
            store(ends, starts[expert], expert)
        with builder.serial(tokens) as token, builder.serial(chosen) as place:
            expert = expert_of(indices, token, place, experts)
            store(pairs, T.Cast("int64", token * chosen + place), ends[expert])
            store(ends, ends[expert] + T.int64(1), expert)
    return ExpertOrder(pairs, starts, experts)


def row_length(columns: int) -> int:
    """Of rows that a product reads many of at the same place: whole cache lines, and an odd number of them, or all
    would fall into the same few lines of a cache."""
    return (-(-columns // LINE) | 1) * LINE


def rows_by_expert(cpu: Cpu, x: Any, order: ExpertOrder, tokens: Any, chosen: int, size: int, spare: int) -> Any:
    """The stage that copies rows of x [tokens, size] into the order of their pairs; behind them are `spare` rows that
    anything may stand in."""
    rows = shared("rows", (tokens * chosen + spare, row_length(size)), "float32")
    width = lanes_within(cpu, size)
    count = tokens * chosen
    with iteration("gather", builder.parallel(count), count, [x, *order.buffers], [rows]) as number:
        token = T.floordiv(order.pairs[number], T.int64(chosen))
        with builder.serial(size // width) as part:
            store(rows, x[token, span(part * width, width)], number, span(part * width, width))
    return rows
