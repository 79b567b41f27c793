"""Scales as floats, whatever type they are stored in."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.script import lanes, spread
from graphwright.backends.tvm.tvm_library import T
from graphwright.ir.dialects.cpu.packed_weights import LANES, PackedWeight


def load_scales(cpu: Cpu, weight: PackedWeight, scales: Any, block: Any, group: Any, place: Any) -> Any:
    """The scales of a group as f32, of those rows of a block whose index in it is the vector `place`."""
    count, size = int(place.lanes), _size(weight)
    return _floats(cpu, weight, scales[block, group, lanes(place.base * size, count * size)], count)


def load_scale(cpu: Cpu, weight: PackedWeight, scales: Any, block: Any, group: Any, lane: Any) -> Any:
    """The scale of a group as f32, of one row of a block."""
    size = _size(weight)
    return _floats(cpu, weight, scales[block, group, lanes(lane * size, size)], 1)


def _size(weight: PackedWeight) -> int:
    return weight.scales_shape[2] // LANES


def _floats(cpu: Cpu, weight: PackedWeight, stored: Any, count: int) -> Any:
    if weight.scale == "float32":
        return _from_bits(stored, count)
    if weight.scale == "float16" and "f16c" in cpu.features:
        return T.Cast(_typed("float32", count), T.reinterpret(_typed("float16", count), stored))
    bits = T.Cast(_typed("uint32", count), T.reinterpret(_typed("uint16", count), stored))
    return _from_half(bits, count) if weight.scale == "float16" else _from_bits(bits << _each(16, count), count)


def _from_bits(bits: Any, count: int) -> Any:
    return T.reinterpret(_typed("float32", count), bits)


def _from_half(bits: Any, count: int) -> Any:
    # Exponent and fraction move to their places in float32, where the exponent is off by 127 - 15.
    size = _from_bits((bits & _each(0x7FFF, count)) << _each(13, count), count)
    sign = (bits & _each(0x8000, count)) << _each(16, count)
    factor = T.float32(2.0**112)
    number = T.reinterpret(_typed("uint32", count), size * (spread(factor, count) if count > 1 else factor))
    return _from_bits(number | sign, count)


def _typed(dtype: str, count: int) -> str:
    return f"{dtype}x{count}" if count > 1 else dtype


def _each(value: int, count: int) -> Any:
    return spread(T.uint32(value), count) if count > 1 else T.uint32(value)
