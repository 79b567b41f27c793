"""Float weights as kernels read them: rows in panels of sixteen, numbers widened to float32 as they are loaded."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.bf16_pairs import PAIR, add_products
from graphwright.backends.tvm.library.layouts import PANEL, panel_count
from graphwright.backends.tvm.tvm_library import T

STACK = "global"
"""The storage scope of scratch. Small buffers of this scope TVM puts on the stack, whence LLVM takes them into
registers; those of scope `local` it allocates anew in each iteration."""


def widened(cpu: Cpu, numbers: Any, dtype: str, lanes: int) -> Any:
    """A vector of `lanes` float32 numbers from one of `dtype` (float32, bfloat16 or float16), exact."""
    if dtype == "float32":
        return numbers
    if dtype == "float16" and not {"f16c", "avx512f"} & cpu.features:
        return _widened_by_bits(numbers, lanes)
    return T.Cast(f"float32x{lanes}" if lanes > 1 else "float32", numbers)


def _widened_by_bits(numbers: Any, lanes: int) -> Any:
    # Where no instruction converts float16, LLVM would call a library: once a number, and it may be missing.
    def each(value: int) -> Any:
        constant = T.uint32(value)
        return T.broadcast(constant, lanes) if lanes > 1 else constant

    def typed(name: str) -> str:
        return f"{name}x{lanes}" if lanes > 1 else name

    bits = T.Cast(typed("uint32"), T.reinterpret(typed("uint16"), numbers))
    magnitude = T.shift_left(T.bitwise_and(bits, each(0x7FFF)), each(13))
    sign = T.shift_left(T.bitwise_and(bits, each(0x8000)), each(16))
    # Exponents count from 15 there and from 127 here: times 2^112, which makes subnormal numbers right too.
    scale = T.reinterpret(typed("float32"), each((127 + 112) << 23))
    scaled = T.reinterpret(typed("uint32"), T.reinterpret(typed("float32"), magnitude) * scale)
    # Infinity and what is not a number keep the greatest exponent.
    special = T.bitwise_or(scaled, each(0x7F800000))
    finite = magnitude < each(0x7C00 << 13)
    return T.reinterpret(typed("float32"), T.bitwise_or(T.Select(finite, scaled, special), sign))


def add_column(cpu: Cpu, sums: Any, number: Any, weights: Any, dtype: str, lanes: int) -> Any:
    """The `sums` of `lanes` rows of a weight of `dtype`, plus one number of x, or a pair, times theirs in a column."""
    if dtype == PAIR:
        return add_products(cpu, sums, number, weights, lanes)
    return sums + T.broadcast(number, lanes) * widened(cpu, weights, dtype, lanes)


def store_panel(cpu: Cpu, outer: int, bias: bool) -> Any:
    """A script function `(y, bias, row, panel, sums, i)`: sums [i, 16], plus bias, into 16 numbers of a row of y."""
    lanes = cpu.float_lanes
    vectors = PANEL // lanes
    rest = outer % PANEL
    last = panel_count(outer) - 1

    @T.inline
    def store_whole(y: Any, bias_vector: Any, row: Any, panel: Any, sums: Any, i: Any) -> None:
        for v in T.unroll(vectors):
            if bias:
                y[row, T.ramp(panel * PANEL + v * lanes, 1, lanes)] = (
                    sums[i, T.ramp(v * lanes, 1, lanes)] + bias_vector[T.ramp(panel * PANEL + v * lanes, 1, lanes)]
                )
            else:
                y[row, T.ramp(panel * PANEL + v * lanes, 1, lanes)] = sums[i, T.ramp(v * lanes, 1, lanes)]

    @T.inline
    def store_rest(y: Any, bias_vector: Any, row: Any, panel: Any, sums: Any, i: Any) -> None:
        for n in T.unroll(rest):
            if bias:
                y[row, panel * PANEL + n] = sums[i, n] + bias_vector[panel * PANEL + n]
            else:
                y[row, panel * PANEL + n] = sums[i, n]

    @T.inline
    def store(y: Any, bias_vector: Any, row: Any, panel: Any, sums: Any, i: Any) -> None:
        if rest == 0:
            store_whole(y, bias_vector, row, panel, sums, i)
        else:
            if panel < last:
                store_whole(y, bias_vector, row, panel, sums, i)
            else:
                store_rest(y, bias_vector, row, panel, sums, i)

    return store
