"""In which codes and blocks a quantized weight is multiplied: what it has, or what holds the same numbers.

Operators of blocks know unsigned codes of 4 and 8 bits (and of 2 where x is rounded) in blocks of 16, 32, 64, 128 and
256. Without rounding only their kernel for 4 bits is fast: with 2 or 8 it unpacks the weight in every call, forty times
as long as a product in float32. So fewer bits are stored as 4, and 8 bits as two halves, each a weight of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphwright.ir import ops
from graphwright.ir.dialects.ort.block_layout import half_codes, holds, regrouped
from graphwright.ir.dialects.ort.conditions import BLOCKS, ROUNDED_TWO_BITS
from graphwright.ir.rewriting import Refusal
from graphwright.ir.types import DType, QuantizedType
from graphwright.ir.weights import Applied, WeightExpression

WHOLE_ROW_BLOCKS = (128, 64, 32, 16)
"""Preferred blocks of weights with one scale a row."""
PADDED_BLOCK = 32


@dataclass(frozen=True)
class Form:
    """Codes of an integer type in blocks. `halves` says that 8-bit codes are multiplied as two times 4 bits."""

    element: DType
    block: int
    halves: bool = False

    def expressions(self, weight: WeightExpression) -> list[tuple[str, WeightExpression]]:
        """The weights in blocks whose products add up to that of `weight`, its minimums left out, each with what to
        add to its name."""
        same = Applied.of(regrouped, (without_minimums(weight),), {"to": self.element, "group": self.block})
        if not self.halves:
            return [("", same)]
        return [(f".{n}", Applied.of(half_codes, (same,), {"high": n == "high"})) for n in ("high", "low")]


def multiplied_form(
    type: QuantizedType, rounding: int | None, *, two_bits: bool, halves: bool = True
) -> Form | Refusal:
    """How to multiply a weight of that type with numbers as they are, or rounded to i8 in groups of `rounding`.

    `two_bits` says whether there is a kernel for 2-bit codes, `halves` whether codes of 8 bits are better two products
    where x is as it is.
    """
    block = _block(type, rounding)
    if isinstance(block, Refusal):
        return block
    narrowest = 2 if two_bits and rounding in ROUNDED_TWO_BITS else 4
    element = integer_codes(type.element, narrowest)
    if isinstance(element, Refusal):
        return element
    return Form(element, block, halves=halves and rounding is None and element.bits == 8)


def without_minimums(weight: WeightExpression) -> WeightExpression:
    """The weight, or of one with minimums what its numbers are above them: zero points of 0 in their place."""
    type = weight.type
    assert isinstance(type, QuantizedType)
    if not type.minimum:
        return weight
    zeros = {"value": 0, "dtype": type.element, "shape": type.scale_shape}
    codes, scales = (Applied.of(part, (weight,), {}) for part in (ops.quantized_codes, ops.quantized_scales))
    parts = (codes, scales, Applied.of(ops.constant, (), zeros))
    return Applied.of(ops.quantized, parts, {"group": type.group or 0, "axis": type.axis})


def integer_codes(element: DType, narrowest: int = 4) -> DType | Refusal:
    """The shortest codes of 2, 4 or 8 bits, and at least `narrowest`, that hold the same numbers."""
    for bits in (2, 4, 8):
        for sign in "iu":
            codes = DType(f"{sign}{bits}")
            if bits >= narrowest and holds(codes, element):
                return codes
    return Refusal(f"no operator multiplies codes of {element}")


def _block(type: QuantizedType, rounding: int | None) -> int | Refusal:
    group = type.group
    if rounding is not None:
        if rounding not in BLOCKS or (group is not None and group % rounding):
            numbers, weights = (f"for {n} of them" if n else "a row" for n in (rounding, group))
            return Refusal(f"x is rounded with a scale {numbers}, the weight has a scale {weights}")
        return rounding
    if group is not None:
        fitting = [block for block in BLOCKS if group % block == 0]
        return fitting[0] if fitting else Refusal(f"groups of {group} are not made of blocks of 16")
    inner = type.shape[1].evaluate({})
    return next((block for block in WHOLE_ROW_BLOCKS if inner % block == 0), PADDED_BLOCK)
