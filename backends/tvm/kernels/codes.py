"""Packed codes and their scales in registers: as floats, and as operands of integer dot products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.script import lanes, spread, tensor
from graphwright.backends.tvm.tvm_library import T, builder
from graphwright.ir.dialects.cpu.packed_weights import LANES, PackedWeight


@dataclass(frozen=True)
class PackedTensors:
    """The parameters of a kernel that hold the arrays of a packed weight."""

    weight: PackedWeight
    codes: Any
    scales: Any
    zero_points: Any | None
    minimums: Any | None

    @classmethod
    def parameters(cls, weight: PackedWeight) -> PackedTensors:
        """Adds them to the kernel that is written: codes, scales, and zero points or minimums if there are any."""
        codes = tensor("codes", weight.codes_shape, "uint8")
        scales = tensor("scales", weight.scales_shape, "uint8")
        zero_points = tensor("zero_points", weight.zero_points_shape, "uint8") if weight.zero_points else None
        minimums = tensor("minimums", weight.scales_shape, "uint8") if weight.minimums else None
        return cls(weight, codes, scales, zero_points, minimums)

    @property
    def buffers(self) -> list[Any]:
        return [each for each in (self.codes, self.scales, self.zero_points, self.minimums) if each is not None]


def each_group(weight: PackedWeight, group: Callable[[Any, int], None]) -> None:
    """Emits `group` of the number and the length of each group of a row; the last may be shorter."""
    length = weight.group or weight.inner
    whole, rest = divmod(weight.inner, length)
    if whole:
        with builder.serial(whole) as number:
            group(number, length)
    if rest:
        group(whole, rest)


def float_lanes(cpu: Cpu) -> int:
    """Rows of the matrix in a register of floats."""
    return 16 if cpu.float_lanes == 16 else 8


def code_numbers(cpu: Cpu, weight: PackedWeight, words: Any, place: int, zero: Any | None) -> Any:
    """What the codes at one place (0 to step - 1) of a step's words u32[lanes] stand for in units of the scale, as f32.

    `zero` is the zero points as f32, less the origin of the codes; None where there are none.
    """
    count = float_lanes(cpu)
    # Of eight codes in a word the first four are the low halves of its bytes.
    shift = 8 * place if weight.bits == 8 else 8 * (place % 4) + 4 * (place // 4)
    moved = T.shift_right(words, spread(T.uint32(shift), count)) if shift else words
    if weight.bits == 4 and "avx512f" in cpu.features:
        # This instruction looks at the last four bits alone.
        numbers = T.call_llvm_pure_intrin(
            "float32x16", "llvm.x86.avx512.permvar.sf.512", _table(weight), T.reinterpret("int32x16", moved)
        )
    else:
        code = moved & spread(T.uint32((1 << weight.bits) - 1), count)
        # As signed numbers, which every target converts in one instruction.
        signed = T.reinterpret(f"int32x{count}", code)
        numbers = T.Cast(f"float32x{count}", signed - spread(weight.origin, count))
    return numbers if zero is None else numbers - zero


def _table(weight: PackedWeight) -> Any:
    return T.Cast("float32x16", T.ramp(T.int32(-weight.origin), 1, 16))


def load_scales(cpu: Cpu, weight: PackedWeight, scales: Any, block: Any, group: Any, place: Any) -> Any:
    """The scales of a group, or its minimums, as f32, of the rows whose index in a block is the vector `place`."""
    count, size = int(place.lanes), _size(weight)
    return _floats(cpu, weight, scales[block, group, lanes(place.base * size, count * size)], count)


def load_scale(cpu: Cpu, weight: PackedWeight, scales: Any, block: Any, group: Any, lane: Any) -> Any:
    """The scale of a group, or its minimum, as f32, of one row of a block."""
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


def integer_lanes(cpu: Cpu) -> int:
    """Rows of the matrix whose sums are in one register."""
    if cpu.has_arm_products:
        return 4
    return 8 if cpu.has_avx2 and not (cpu.has_vnni or cpu.has_wide_bytes) else LANES


def unpacked(codes: Any, bits: int, lanes: int) -> list[Any]:
    """A step's codes, u8x(4 * lanes), as bytes of one code each: the first four of each lane, and where there are
    eight in a lane the others."""
    if bits == 8:
        return [codes]
    size = 4 * lanes
    return [codes & spread(T.uint8(15), size), T.shift_right(codes, spread(T.uint8(4), size))]


PAIRS = 8
"""So many sums of two products of a code of 4 bits with a byte fit in 16 bits: 8 * 2 * 15 * 128 < 2^15."""


def adds_pairs(cpu: Cpu, bits: int) -> bool:
    """Whether sums of two products are added in 16 bits first, up to `PAIRS` of them: half as many instructions."""
    return bits == 4 and cpu.has_avx2 and not cpu.has_vnni


def pair_products(codes: Any, word: Any) -> Any:
    """In each lane the sums of two products, i16[2 * lanes], of its four codes u8 with the four i8 in the word i32."""
    lanes = int(codes.ty.dtype.lanes) // 4
    token = T.reinterpret(f"int8x{4 * lanes}", spread(word, lanes))
    name = {8: "llvm.x86.avx2.pmadd.ub.sw", 16: "llvm.x86.avx512.pmaddubs.w.512"}[lanes]
    return T.call_llvm_pure_intrin(f"int16x{2 * lanes}", name, codes, token)


def added_pairs(pairs: Any) -> Any:
    """The two numbers i16 of each lane added, i32[lanes]."""
    lanes = int(pairs.ty.dtype.lanes) // 2
    name = {8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}[lanes]
    return T.call_llvm_pure_intrin(f"int32x{lanes}", name, pairs, spread(T.int16(1), 2 * lanes))


def add_products(cpu: Cpu, sums: Any, codes: Any, word: Any, bits: int) -> Any:
    """sums i32[lanes] + in each lane the product of its four codes u8 with the four i8 in the word i32."""
    lanes = integer_lanes(cpu)
    if cpu.has_vnni:
        token = T.reinterpret("int8x64", spread(word, lanes))
        return T.call_llvm_pure_intrin("int32x16", "llvm.x86.avx512.vpdpbusd.512", sums, codes, token)
    if cpu.has_avx2:
        return _add_by_halves(sums, codes, bits, lambda sums, codes: sums + added_pairs(pair_products(codes, word)))
    if cpu.has_arm_products:
        token = T.reinterpret("int8x16", spread(word, lanes))

        def add(sums: Any, codes: Any) -> Any:
            signed = T.reinterpret("int8x16", codes)
            return T.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.sdot", sums, signed, token)

        return _add_by_halves(sums, codes, bits, add)
    return _add_one_by_one(sums, T.reinterpret("uint32x16", codes), word)


def _add_by_halves(sums: Any, codes: Any, bits: int, add: Callable[[Any, Any], Any]) -> Any:
    """By an instruction that takes codes of 4 bits alone: bytes are too large for its sums, or for its signed codes."""
    if bits == 4:
        return add(sums, codes)
    lanes = int(sums.ty.dtype.lanes)
    low = add(sums, codes & spread(T.uint8(15), 4 * lanes))
    high = add(spread(T.int32(0), lanes), T.shift_right(codes, spread(T.uint8(4), 4 * lanes)))
    return low + high * spread(16, lanes)


def _add_one_by_one(sums: Any, codes: Any, word: Any) -> Any:
    for place in range(4):
        number = T.shift_right(T.shift_left(word, 24 - 8 * place), 24)
        code = T.shift_right(codes, spread(T.uint32(8 * place), LANES)) & spread(T.uint32(255), LANES)
        sums = sums + T.Cast(f"int32x{LANES}", code) * spread(number, LANES)
    return sums
