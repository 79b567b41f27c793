# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""One to eight rows of activations times float weights: each number is read once, for all rows.

A panel lies in the order in which it is read. One such stream leaves half of the memory's channels waiting, so a thread
reads several panels at a time, each from front to back, and asks for what comes next in each.
"""

from __future__ import annotations

from typing import Any

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.bf16_pairs import PAIR
from graphwright.backends.tvm.kernels.float_panels import PANEL, STACK, add_column, panel_count, store_panel
from graphwright.backends.tvm.tvm_library import T

LINE = 64
"""Bytes that memory gives at once."""

SECOND_LEVEL = 2
"""The cache that is asked to hold what comes next, as `llvm.prefetch` counts: the first would overflow."""


def streams_for(cpu: Cpu, most: int, rows: int, panels: int) -> int:
    """Panels that are read at a time, at `most`: as many as leave their sums in registers and the work easy to share.

    Shares count as even if there is an even number of groups of panels, or so many that one more does not matter.
    """
    registers = 16 if cpu.float_lanes == 16 else 8
    streams = max(1, min(most, registers // (rows * (PANEL // cpu.float_lanes))))
    while streams > 1 and (
        streams > panels or (group_count(panels, streams) % 2 and group_count(panels, streams) < 32)
    ):
        streams //= 2
    return streams


def group_count(panels: int, streams: int) -> int:
    return -(-panels // streams)


def gemv(cpu: Cpu, settings: Settings, rows: int, inner: int, outer: int, weight_dtype: str, bias: bool) -> Any:
    """A script function `(x, weight, bias, y, group, last)`: y [rows, of a group of panels].

    Rows past `last` stand for row `last`, so that x and y may have fewer than `rows`.
    """
    lanes = cpu.float_lanes
    vectors = PANEL // lanes
    panels = panel_count(outer)
    streams = streams_for(cpu, settings["streams"], rows, panels)
    # Two buffers for the sums, since one of a kilobyte would no longer stand on the stack.
    second = streams // 2
    first = streams - second
    step = settings["column_step"]
    turns, rest = divmod(inner, step)
    column_bytes = PANEL * (4 if weight_dtype in ("float32", PAIR) else 2)
    # Measured: with two and four rows, what asks ahead costs more of the load units than it gains.
    ahead = 0 if rows in (2, 4) else settings["ahead"] // column_bytes
    store = store_panel(cpu, outer, bias)

    def panel_of(group: Any, stream: Any) -> Any:
        panel = group * streams + stream
        return panel if panels % streams == 0 else T.min(panel, panels - 1)

    @T.inline
    def clear(sums: Any, count: int) -> None:
        for i in T.unroll(count * rows):
            for v in T.unroll(vectors):
                sums[i, T.ramp(v * lanes, 1, lanes)] = T.broadcast(T.float32(0), lanes)

    @T.inline
    def ask_ahead(weight: Any, group: Any, column: Any) -> None:
        for s in T.unroll(streams):
            T.evaluate(
                T.call_llvm_intrin(
                    "void",
                    "llvm.prefetch",
                    T.address_of(weight[panel_of(group, s), column + ahead, 0]),
                    0,
                    SECOND_LEVEL,
                    1,
                )
            )

    @T.inline
    def add(x: Any, weight: Any, sums: Any, row: Any, i: Any, panel: Any, column: Any) -> None:
        for v in T.unroll(vectors):
            sums[i, T.ramp(v * lanes, 1, lanes)] = add_column(
                cpu,
                sums[i, T.ramp(v * lanes, 1, lanes)],
                x[row, column],
                weight[panel, column, T.ramp(v * lanes, 1, lanes)],
                weight_dtype,
                lanes,
            )

    @T.inline
    def add_to_all(x: Any, weight: Any, group: Any, last: Any, left: Any, right: Any, column: Any) -> None:
        for i in T.unroll(rows):
            for s in T.unroll(first):
                add(x, weight, left, T.min(i, last), i * first + s, panel_of(group, s), column)
            for s in T.unroll(second):
                add(x, weight, right, T.min(i, last), i * second + s, panel_of(group, first + s), column)

    @T.inline
    def multiply(x: Any, weight: Any, bias_vector: Any, y: Any, group: Any, last: Any) -> None:
        with T.sblock("gemv"):
            left = T.sblock_alloc_buffer((rows * first, PANEL), "float32", scope=STACK)
            right = T.sblock_alloc_buffer((max(rows * second, 1), PANEL), "float32", scope=STACK)
            clear(left, first)
            clear(right, second)
            for turn in T.serial(turns):
                for c in T.unroll(step):
                    if ahead > 0 and c * column_bytes % LINE == 0:
                        ask_ahead(weight, group, turn * step + c)
                    add_to_all(x, weight, group, last, left, right, turn * step + c)
            for c in T.unroll(rest):
                add_to_all(x, weight, group, last, left, right, turns * step + c)
            for i in T.unroll(rows):
                for s in T.unroll(first):
                    store(y, bias_vector, T.min(i, last), panel_of(group, s), left, i * first + s)
                for s in T.unroll(second):
                    store(y, bias_vector, T.min(i, last), panel_of(group, first + s), right, i * second + s)

    return multiply
