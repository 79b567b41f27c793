"""Packed codes as floats, in registers."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.script import spread
from graphwright.backends.tvm.tvm_library import T
from graphwright.ir.dialects.cpu.packed_weights import PackedWeight


def float_lanes(cpu: Cpu) -> int:
    """Rows of the matrix in a register of floats."""
    return 16 if cpu.float_lanes == 16 else 8


def code_numbers(cpu: Cpu, weight: PackedWeight, words: Any, place: int, zero: Any | None) -> Any:
    """What the codes at one place (0 to step - 1) of a step's words u32[lanes] stand for in units of the scale, as f32.

    `zero` is the zero points as f32, less the middle of the codes; None where there are none.
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
        numbers = T.Cast(f"float32x{count}", signed - spread(weight.middle, count))
    return numbers if zero is None else numbers - zero


def _table(weight: PackedWeight) -> Any:
    return T.Cast("float32x16", T.ramp(T.int32(-weight.middle), 1, 16))
