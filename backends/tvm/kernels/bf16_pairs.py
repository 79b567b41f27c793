"""Pairs of bfloat16 numbers: float32 rounded to them, and their products.

Neighbours along a row are a pair, which kernels see as an `int32` whose low half is the first. AVX-512 BF16 adds to a
float32 the product of the second numbers and then that of the first ones, each exact before it is added, with sums
rounded to nearest even. What is below 2^-126, in operands or sums, counts as zero. Elsewhere the same is computed in
float32, where these small numbers count.
"""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.tvm_library import T

PAIR = "int32"
"""The element type that pairs have in buffers of kernels."""

_LANES = 16
_MULTIPLY, _ROUND = "graphwright_add_products_of_pairs", "graphwright_round_to_pairs"

DEFINITIONS = f"""
declare <16 x float> @llvm.x86.avx512bf16.dpbf16ps.512(<16 x float>, <32 x bfloat>, <32 x bfloat>)
declare <32 x bfloat> @llvm.x86.avx512bf16.cvtne2ps2bf16.512(<16 x float>, <16 x float>)

define <16 x float> @{_MULTIPLY}(<16 x float> %sums, <16 x i32> %weights, <16 x i32> %numbers) {{
  %w = bitcast <16 x i32> %weights to <32 x bfloat>
  %x = bitcast <16 x i32> %numbers to <32 x bfloat>
  %y = call <16 x float> @llvm.x86.avx512bf16.dpbf16ps.512(<16 x float> %sums, <32 x bfloat> %w, <32 x bfloat> %x)
  ret <16 x float> %y
}}

define <16 x i32> @{_ROUND}(<16 x float> %low, <16 x float> %high) {{
  %rounded = call <32 x bfloat> @llvm.x86.avx512bf16.cvtne2ps2bf16.512(<16 x float> %high, <16 x float> %low)
  %pairs = bitcast <32 x bfloat> %rounded to <16 x i32>
  ret <16 x i32> %pairs
}}
"""
"""TVM has no vectors of bfloat16, which these instructions take: functions of LLVM stand between, and are inlined."""


def pair_count(columns: int) -> int:
    """Pairs in a row; the last of an odd number has a zero beside it."""
    return -(-columns // 2)


def definitions(cpu: Cpu) -> Any:
    """A frame in a script around what rounds or multiplies pairs."""
    return T.attr(T.int32(0), "pragma_import_llvm", DEFINITIONS if cpu.has_bf16 else "")


def add_products(cpu: Cpu, sums: Any, pair: Any, weights: Any, lanes: int) -> Any:
    """The float32 `sums` of `lanes` rows of a weight, plus the products of one pair of x with theirs."""
    numbers = T.broadcast(pair, lanes) if lanes > 1 else pair
    if cpu.has_bf16 and lanes == _LANES:
        return T.call_pure_extern(f"float32x{_LANES}", _MULTIPLY, sums, weights, numbers)
    return sums + second(numbers, lanes) * second(weights, lanes) + first(numbers, lanes) * first(weights, lanes)


def first(pairs: Any, lanes: int) -> Any:
    """The first number of each pair, as float32."""
    return T.reinterpret(_typed("float32", lanes), T.shift_left(pairs, _each(T.int32(16), lanes)))


def second(pairs: Any, lanes: int) -> Any:
    """The second number of each pair, as float32."""
    return T.reinterpret(_typed("float32", lanes), T.bitwise_and(pairs, _each(T.int32(-0x10000), lanes)))


def rounded_pairs(cpu: Cpu, x: Any, row: Any, pair: Any, lanes: int) -> Any:
    """So many pairs of a row of x from one on, rounded to nearest, ties to even."""
    if cpu.has_bf16 and lanes == _LANES:
        low, high = (x[row, T.ramp(pair * 2 + start, 1, _LANES)] for start in (0, _LANES))
        return T.call_pure_extern(f"{PAIR}x{_LANES}", _ROUND, low, high)

    def each(place: int) -> Any:
        return x[row, T.ramp(pair * 2 + place, 2, lanes) if lanes > 1 else pair * 2 + place]

    return _paired(_nearest(each(0), lanes), _nearest(each(1), lanes), lanes)


def rounded_last(x: Any, row: Any, column: int) -> Any:
    """The pair of a row's last number and zero."""
    return _paired(_nearest(x[row, column], 1), T.uint32(0), 1)


def _paired(low: Any, high: Any, lanes: int) -> Any:
    upper = T.bitwise_and(high, _each(T.uint32(0xFFFF0000), lanes))
    return T.reinterpret(_typed(PAIR, lanes), T.bitwise_or(T.shift_right(low, _each(T.uint32(16), lanes)), upper))


def _nearest(number: Any, lanes: int) -> Any:
    """Bits of which the upper half is the nearest bfloat16; what is not a number stays so."""
    bits = T.reinterpret(_typed("uint32", lanes), number)
    odd = T.bitwise_and(T.shift_right(bits, _each(T.uint32(16), lanes)), _each(T.uint32(1), lanes))
    near = bits + odd + _each(T.uint32(0x7FFF), lanes)
    quiet = T.bitwise_or(bits, _each(T.uint32(0x00400000), lanes))
    size = T.bitwise_and(bits, _each(T.uint32(0x7FFFFFFF), lanes))
    return T.Select(size > _each(T.uint32(0x7F800000), lanes), quiet, near)


def _each(value: Any, lanes: int) -> Any:
    return T.broadcast(value, lanes) if lanes > 1 else value


def _typed(dtype: str, lanes: int) -> str:
    return f"{dtype}x{lanes}" if lanes > 1 else dtype
