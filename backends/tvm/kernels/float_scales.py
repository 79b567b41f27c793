"""Scales as floats, whatever type they are stored in."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.packed_weight import LANES, PackedWeight
from graphwright.backends.tvm.kernels.script import lanes, spread
from graphwright.backends.tvm.tvm_library import T


def load_scales(cpu: Cpu, weight: PackedWeight, scales: Any, block: Any, group: Any, place: Any) -> Any:
    """The scales of a group as f32, of those rows of a block whose index in it is the vector `place`."""
    count = int(place.lanes)
    size = weight.scales_shape[2] // LANES
    stored = scales[block, group, lanes(place.base * size, count * size)]
    if weight.scale == "float32":
        return _from_bits(stored, count)
    if weight.scale == "float16" and "f16c" in cpu.features:
        return T.Cast(f"float32x{count}", T.reinterpret(f"float16x{count}", stored))
    bits = T.Cast(f"uint32x{count}", T.reinterpret(f"uint16x{count}", stored))
    return (
        _from_half(bits, count) if weight.scale == "float16" else _from_bits(bits << spread(T.uint32(16), count), count)
    )


def _from_bits(bits: Any, count: int) -> Any:
    return T.reinterpret(f"float32x{count}", bits)


def _from_half(bits: Any, count: int) -> Any:
    # Exponent and fraction move to their places in float32, where the exponent is off by 127 - 15.
    size = _from_bits((bits & spread(T.uint32(0x7FFF), count)) << spread(T.uint32(13), count), count)
    sign = (bits & spread(T.uint32(0x8000), count)) << spread(T.uint32(16), count)
    number = T.reinterpret(f"uint32x{count}", size * spread(T.float32(2.0**112), count))
    return _from_bits(number | sign, count)
