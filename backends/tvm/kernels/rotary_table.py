# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""The cosines and sines of a step's positions: computed once, used by all layers."""

from __future__ import annotations

from typing import Any

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.fast_math import number, polynomial
from graphwright.backends.tvm.kernels.tir import filled, lanes_within, local_buffer, span, stage_loop
from graphwright.backends.tvm.tvm_library import T

HALF_PI_HIGH, HALF_PI_LOW = 1.5707963267341256, 6.077100506506192e-11
"""π/2 in two parts; the first has 33 bits: times a whole number of 20 bits it is exact in float64."""
ROUNDER = 6755399441055744.0
"""1.5 * 2^52: added and taken away again, it rounds a float64 to a whole number."""
SIN = (
    *(-0.16666666666631713, 0.008333333325283333, -0.00019841263827419798),
    *(2.7555358467453555e-06, -2.4761691277554e-08),
)
"""(sin(r) / r - 1) / r² in r² for |r| <= π/4, within 5e-15."""
COS = (
    *(-0.49999999999544603, 0.04166666656199024, -0.001388888107403356),
    *(2.4799040066831093e-05, -2.718003148269397e-07),
)
"""(cos(r) - 1) / r² in r² for |r| <= π/4, within 6e-14."""


def rotary_table(cpu: Cpu, *, settings: Settings, tokens: int | None, pairs: int, scale: float = 1.0) -> Any:
    """(positions i64 [B or 1, S], frequencies f32 [pairs], cos f32 [B or 1, S, pairs], sin likewise).

    The angle is a product of float32, as the IR's `rope` and the models themselves have it; its cosine and sine, times
    scale, are then right to the last place but one up to angles of 2^20.
    """
    lanes = lanes_within(cpu, pairs)
    chunks = pairs // lanes
    loop = stage_loop(settings, tokens, pairs * 8)
    wide, whole = (f"{kind}x{lanes}" if lanes > 1 else kind for kind in ("float64", "int32"))
    narrow = f"float32x{lanes}" if lanes > 1 else "float32"

    @T.prim_func(private=True, s_tir=True)
    def kernel(
        positions_handle: T.handle,
        frequencies: T.Buffer((pairs,), "float32"),
        cos_handle: T.handle,
        sin_handle: T.handle,
    ):
        batch, sequence = T.int64(), T.int64()
        positions = T.match_buffer(positions_handle, (batch, sequence), "int64")
        cos = T.match_buffer(cos_handle, (batch, sequence, pairs), "float32")
        sin = T.match_buffer(sin_handle, (batch, sequence, pairs), "float32")
        with T.sblock("root"):
            for token in loop(batch * sequence):
                angle = local_buffer(lanes)
                quarter = local_buffer(lanes, element="float64")
                rest = local_buffer(lanes, element="float64")
                square = local_buffer(lanes, element="float64")
                sine = local_buffer(lanes, element="float64")
                cosine = local_buffer(lanes, element="float64")
                quadrant = local_buffer(lanes, element="int32")
                row = T.meta_var(token // sequence)
                column = T.meta_var(token % sequence)
                every = T.meta_var(span(0, lanes))
                for i in range(chunks):
                    at = T.meta_var(span(i * lanes, lanes))
                    position = T.meta_var(T.Cast("float32", positions[row, column]))
                    angle[every] = filled(position, lanes) * frequencies[at]
                    exact = T.meta_var(T.Cast(wide, angle[every]))
                    rounder = T.meta_var(number(ROUNDER, quarter[every]))
                    quarter[every] = exact * number(0.6366197723675814, quarter[every]) + rounder
                    quarter[every] = quarter[every] - rounder
                    quadrant[every] = T.Cast(whole, quarter[every])
                    high = T.meta_var(number(HALF_PI_HIGH, quarter[every]))
                    low = T.meta_var(number(HALF_PI_LOW, quarter[every]))
                    rest[every] = exact - quarter[every] * high - quarter[every] * low
                    square[every] = rest[every] * rest[every]
                    sine[every] = rest[every] + rest[every] * square[every] * polynomial(square[every], SIN)
                    cosine[every] = number(1.0, square[every]) + square[every] * polynomial(square[every], COS)
                    one = T.meta_var(number(1, quadrant[every]))
                    two = T.meta_var(number(2, quadrant[every]))
                    none = T.meta_var(number(0, quadrant[every]))
                    # In an odd quadrant sine and cosine change places; in two of four each changes its sign.
                    odd = T.meta_var((quadrant[every] & one) != none)
                    of_sine = T.meta_var(T.Select(odd, cosine[every], sine[every]))
                    of_cosine = T.meta_var(T.Select(odd, sine[every], cosine[every]))
                    below = T.meta_var((quadrant[every] & two) != none)
                    left = T.meta_var(((quadrant[every] + one) & two) != none)
                    factor = T.meta_var(number(scale, angle[every]))
                    sin[row, column, at] = T.Cast(narrow, T.Select(below, -of_sine, of_sine)) * factor
                    cos[row, column, at] = T.Cast(narrow, T.Select(left, -of_cosine, of_cosine)) * factor

    return kernel
