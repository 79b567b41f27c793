# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""One to eight rows of activations times a panel of float weights: each number is read once, for all rows.

Weights of one panel lie in the order in which they are read, and panels lie one after another, so a thread reads its
share of the weights from front to back: what memory and its prefetching are best at.
"""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.float_panels import PANEL, STACK, store_panel, widened
from graphwright.backends.tvm.tvm_library import T

FEW = 8
"""The most rows that are multiplied at once. Up to here memory is slower than arithmetic."""

STEP = 8
"""Columns of the weight in one turn of the loop."""


def few_rows(cpu: Cpu, rows: int, inner: int, outer: int, weight_dtype: str, bias: bool) -> Any:
    """A script function `(x, weight, bias, y, panel, last)` that computes y [rows, 16 of a panel].

    Rows past `last` stand for row `last`, so that x and y may have fewer than `rows`.
    """
    lanes = cpu.float_lanes
    vectors = PANEL // lanes
    # A sum can take the next product after four cycles only, so a few go side by side where there are few rows.
    chains = max(1, 4 // rows)
    turns, rest = divmod(inner, STEP)
    store = store_panel(cpu, outer, bias)

    @T.inline
    def add_column(x: Any, weight: Any, panel: Any, last: Any, sums: Any, column: Any, chain: Any) -> None:
        for v in T.unroll(vectors):
            for i in T.unroll(rows):
                sums[chain * rows + i, T.ramp(v * lanes, 1, lanes)] = sums[
                    chain * rows + i, T.ramp(v * lanes, 1, lanes)
                ] + T.broadcast(x[T.min(i, last), column], lanes) * widened(
                    cpu, weight[panel, column, T.ramp(v * lanes, 1, lanes)], weight_dtype, lanes
                )

    @T.inline
    def multiply(x: Any, weight: Any, bias_vector: Any, y: Any, panel: Any, last: Any) -> None:
        with T.sblock("few_rows"):
            sums = T.sblock_alloc_buffer((chains * rows, PANEL), "float32", scope=STACK)
            for i in T.unroll(chains * rows):
                for v in T.unroll(vectors):
                    sums[i, T.ramp(v * lanes, 1, lanes)] = T.broadcast(T.float32(0), lanes)
            for turn in T.serial(turns):
                for c in T.unroll(STEP):
                    add_column(x, weight, panel, last, sums, turn * STEP + c, c % chains)
            for c in T.unroll(rest):
                add_column(x, weight, panel, last, sums, turns * STEP + c, c % chains)
            for i in T.unroll(rows, chains * rows):
                for v in T.unroll(vectors):
                    sums[i % rows, T.ramp(v * lanes, 1, lanes)] = (
                        sums[i % rows, T.ramp(v * lanes, 1, lanes)] + sums[i, T.ramp(v * lanes, 1, lanes)]
                    )
            for i in T.unroll(rows):
                store(y, bias_vector, T.min(i, last), panel, sums, i)

    return multiply
