"""Exponentials and their kin on vectors: what a kernel writes in place of calls to the mathematics library.

Each function takes an expression of float32, a vector or a number, and gives one of the same type. Polynomials are
least in the largest error (Remez 1934) on the stated range, fitted for this file; errors are in units in the last place
of float32 as the tests measure them. NaN gives NaN.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.tvm_library import T, tirx

LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 0.693115234375, 3.194618329871446e-05
"""ln 2 in two parts; times a whole number of 12 bits the first is exact."""
ROUNDER = 12582912.0
"""1.5 * 2^23: added and taken away again, it rounds to a whole number, which lies in the low bits of the sum."""
ROUNDER_BITS = 0x4B400000
INFINITY_BITS = 0x7F800000
EXP = (0.4999999403953552, 0.1666652113199234, 0.04166838899254799, 0.0083687175065279, 0.0013814596459269524)
"""(exp(r) - 1 - r) / r² for |r| <= ln 2 / 2."""
TANH = (-0.3333328366279602, 0.13331490755081177, -0.05374349653720856, 0.020650578662753105, -0.005717036779969931)
"""(tanh(r) - r) / r³ in r² for |r| <= 0.625."""
ERF = (
    *(1.1283791065216064, -0.3761262595653534, 0.11283600330352783, -0.026854444295167923),
    *(0.005189535208046436, -0.0008020841050893068, 7.889119297033176e-05),
)
"""erf(x) / x in x² for |x| <= 1."""
LOG_ERFC = (
    *(0.00018804024148266762, -1.1295784711837769, -0.6332198977470398, -0.10841857641935349),
    *(0.025208257138729095, -0.004204561933875084, 0.00044133636401966214, -2.1686850232072175e-05),
)
"""log(1 - erf(x)) for 1 <= x <= 4; from 4 on erf is 1 in float32."""


def number(value: float, like: Any) -> Any:
    """A constant of the type of an expression."""
    return spread(tirx.const(value, like.ty.dtype.with_lanes(1)), like)


def let(value: Any, body: Callable[[Any], Any]) -> Any:
    """body of the value, which is computed once."""
    variable = tirx.Var("v", value.ty)
    return tirx.Let(variable, value, body(variable))


def polynomial(x: Any, coefficients: Sequence[float]) -> Any:
    """coefficients[0] + coefficients[1] x + ..., by Horner's rule."""
    *lower, last = coefficients
    return functools.reduce(lambda sum, c: sum * x + number(c, x), reversed(lower), number(last, x))


def exp(x: Any) -> Any:
    """e^x within 2 units: 0 below the least denormal, infinity where float32 ends."""
    return let(clamped(x, -105.0, 89.0), _exp)


def _exp(x: Any) -> Any:
    """As 2^n e^r with |r| <= ln 2 / 2 (Cody & Waite 1980)."""

    def multiplied(rounded: Any) -> Any:
        n = rounded - number(ROUNDER, x)
        rest = x - n * number(LN2_HIGH, x) - n * number(LN2_LOW, x)
        return let(whole(rounded), lambda whole: let(rest, lambda r: _times_power(_exp_near_zero(r), whole)))

    return let(x * number(LOG2_E, x) + number(ROUNDER, x), multiplied)


def exp_of_negative(cpu: Cpu, x: Any) -> Any:
    """e^x of numbers that are 0 at most, as `exp` gives it; minus infinity gives 0."""
    vector = cpu.float_lanes == 16 and x.ty.dtype.lanes == 16

    def multiplied(x: Any, rounded: Any) -> Any:
        def scaled(n: Any) -> Any:
            rest = x - n * number(LN2_HIGH, x) - n * number(LN2_LOW, x)
            near = let(rest, _exp_near_zero)
            return _scaled(near, n) if vector else _times_power(near, whole(rounded))

        return let(rounded - number(ROUNDER, x), scaled)

    def bounded(x: Any) -> Any:
        return let(x * number(LOG2_E, x) + number(ROUNDER, x), lambda rounded: multiplied(x, rounded))

    low = number(-105.0, x)
    return let(x, lambda x: let(T.Select(low > x, low, x), bounded))


def _scaled(x: Any, exponent: Any) -> Any:
    """x 2^exponent, rounded once, of 16 numbers."""
    name = "llvm.x86.avx512.mask.scalef.ps.512"
    all_lanes, as_ever = tirx.const(0xFFFF, "uint16"), T.int32(4)
    return T.call_llvm_pure_intrin(x.ty.dtype, name, x, exponent, number(0.0, x), all_lanes, as_ever)


def _exp_near_zero(r: Any) -> Any:
    return number(1.0, r) + (r + r * r * polynomial(r, EXP))


def _times_power(x: Any, exponent: Any) -> Any:
    """x 2^exponent. In two factors: one alone ends before float32's denormals, and before its largest numbers."""
    half = T.shift_right(exponent, number(1, exponent))
    return let(half, lambda half: x * _power_of_two(half) * _power_of_two(exponent - half))


def whole(rounded: Any) -> Any:
    """The whole number that x + ROUNDER is rounded to, as int32."""
    bits = reinterpret("int32", rounded)
    return bits - number(ROUNDER_BITS, bits)


def sigmoid(x: Any) -> Any:
    """1 / (1 + e^-x) within 4 units, but for denormals, which are 0."""
    return let(x, lambda x: number(1.0, x) / (number(1.0, x) + exp(-x)))


def tanh(x: Any) -> Any:
    """Within 3 units."""

    def large(x: Any) -> Any:
        return number(1.0, x) - number(2.0, x) / (exp(absolute(x) + absolute(x)) + number(1.0, x))

    def small(x: Any) -> Any:
        return let(x * x, lambda square: x + x * square * polynomial(square, TANH))

    return let(x, lambda x: T.Select(absolute(x) < number(0.625, x), small(x), _signed(large(x), x)))


def erf(x: Any) -> Any:
    """Within 3 units."""

    def large(x: Any) -> Any:
        return number(1.0, x) - let(clamped(absolute(x), 1.0, 4.0), lambda a: exp(polynomial(a, LOG_ERFC)))

    def small(x: Any) -> Any:
        return let(x * x, lambda square: x * polynomial(square, ERF))

    return let(x, lambda x: T.Select(absolute(x) < number(1.0, x), small(x), _signed(large(x), x)))


def magnitude_bits(x: Any) -> Any:
    """The bits of |x|: an integer above INFINITY_BITS where x is NaN, equal to it where x is infinite."""
    bits = reinterpret("int32", x)
    return bits & number(0x7FFFFFFF, bits)


def is_nan(x: Any) -> Any:
    """By its bits: x != x is simplified away."""
    bits = magnitude_bits(x)
    return bits > number(INFINITY_BITS, bits)


def differs(x: Any, value: float) -> Any:
    """Whether a float32 is not `value`, which is not zero; NaN is not.

    By its bits: x != value, as TVM writes it, leaves NaN out.
    """
    bits = reinterpret("int32", x)
    return bits != number(int(np.float32(value).view(np.int32)), bits)


def is_nonzero(x: Any) -> Any:
    """Whether a float32 is not zero; NaN is not. By its bits, as `differs`."""
    bits = magnitude_bits(x)
    return bits != number(0, bits)


def is_finite(x: Any) -> Any:
    """By its bits: x - x is simplified away."""
    bits = magnitude_bits(x)
    return bits < number(INFINITY_BITS, bits)


def clamped(x: Any, least: float, most: float) -> Any:
    """x within bounds."""
    low, high = number(least, x), number(most, x)
    return let(x, lambda x: T.Select(x < low, low, T.Select(x > high, high, x)))


def absolute(x: Any) -> Any:
    """|x|."""
    return reinterpret("float32", magnitude_bits(x))


def _signed(magnitude: Any, sign: Any) -> Any:
    bits = reinterpret("int32", magnitude)
    return reinterpret("float32", bits | (reinterpret("int32", sign) & number(-(1 << 31), bits)))


def _power_of_two(exponent: Any) -> Any:
    return reinterpret("float32", T.shift_left(exponent + number(127, exponent), number(23, exponent)))


def spread(scalar: Any, like: Any) -> Any:
    """A number in every lane of what is like that expression."""
    lanes = like.ty.dtype.lanes
    return T.broadcast(scalar, lanes) if lanes > 1 else scalar


def reinterpret(element: str, x: Any) -> Any:
    """The same bits as numbers of another type of the same size."""
    lanes = x.ty.dtype.lanes
    return T.reinterpret(f"{element}x{lanes}" if lanes > 1 else element, x)
