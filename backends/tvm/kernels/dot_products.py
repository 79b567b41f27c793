"""Integer dot products of packed codes and rounded tokens: the instruction that a CPU has for them."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.script import spread
from graphwright.backends.tvm.tvm_library import T
from graphwright.ir.dialects.cpu.packed_weights import LANES


def integer_lanes(cpu: Cpu) -> int:
    """Rows of the matrix whose sums are in one register."""
    return 8 if cpu.has_avx2 and not cpu.has_vnni else LANES


def unpacked(codes: Any, bits: int, lanes: int) -> list[Any]:
    """A step's codes, u8x(4 * lanes), as bytes of one code each: the first four of each lane, and where there are
    eight in a lane the others."""
    if bits == 8:
        return [codes]
    size = 4 * lanes
    return [codes & spread(T.uint8(15), size), T.shift_right(codes, spread(T.uint8(4), size))]


def add_products(cpu: Cpu, sums: Any, codes: Any, word: Any, bits: int) -> Any:
    """sums i32[lanes] + in each lane the product of its four codes u8 with the four i8 in the word i32."""
    lanes = integer_lanes(cpu)
    if cpu.has_vnni:
        token = T.reinterpret("int8x64", spread(word, lanes))
        return T.call_llvm_pure_intrin("int32x16", "llvm.x86.avx512.vpdpbusd.512", sums, codes, token)
    if cpu.has_avx2:
        return _add_by_pairs(sums, codes, T.reinterpret("int8x32", spread(word, lanes)), bits)
    return _add_one_by_one(sums, T.reinterpret("uint32x16", codes), word)


def _add_by_pairs(sums: Any, codes: Any, token: Any, bits: int) -> Any:
    # Two products of a byte of 8 bits overflow the 16 bits in which they are added, those of its halves do not.
    if bits == 4:
        return sums + _pairs_added(codes, token)
    low = _pairs_added(codes & spread(T.uint8(15), 32), token)
    high = _pairs_added(T.shift_right(codes, spread(T.uint8(4), 32)), token)
    return sums + low + high * spread(16, 8)


def _pairs_added(codes: Any, token: Any) -> Any:
    pairs = T.call_llvm_pure_intrin("int16x16", "llvm.x86.avx2.pmadd.ub.sw", codes, token)
    return T.call_llvm_pure_intrin("int32x8", "llvm.x86.avx2.pmadd.wd", pairs, spread(T.int16(1), 16))


def _add_one_by_one(sums: Any, codes: Any, word: Any) -> Any:
    for place in range(4):
        number = T.shift_right(T.shift_left(word, 24 - 8 * place), 24)
        code = T.shift_right(codes, spread(T.uint32(8 * place), LANES)) & spread(T.uint32(255), LANES)
        sums = sums + T.Cast(f"int32x{LANES}", code) * spread(number, LANES)
    return sums
