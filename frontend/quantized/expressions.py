"""Packed codes taken apart, as lazy weights: nothing is read until a weight is written."""

from graphwright.ir import Dim, DType, ops
from graphwright.ir.attributes import Attribute
from graphwright.ir.declare import OpDef
from graphwright.ir.types import TensorType
from graphwright.ir.weights import Applied, WeightExpression


def apply(definition: OpDef, *operands: WeightExpression | None, **attributes: Attribute) -> WeightExpression:
    return Applied.of(definition, operands, attributes)


def transposed(x: WeightExpression) -> WeightExpression:
    return apply(ops.transpose, x, permutation=(1, 0))


def number(value: int, dtype: DType, *shape: int) -> WeightExpression:
    return apply(ops.constant, value=value, dtype=dtype, shape=tuple(map(Dim.of, shape)))


def unsigned(bits: int) -> DType:
    return DType(f"u{bits}")


def unpacked(words: WeightExpression, to: DType, count: int) -> WeightExpression:
    """`count` codes a row out of words [rows, n] of integers; they lie one after another, the first in the lowest bits.

    A code may reach over two words: 32 codes of 3 bits lie in three words of 32.
    """
    data = apply(ops.bitcast, words, to=DType.U8)
    assert isinstance(data.type, TensorType)
    needed = -(-count * to.bits // 8)
    if data.type.shape[-1].constant != needed:
        data = apply(ops.slice, data, axis=1, start=Dim.of(0), stop=Dim.of(needed))
    return apply(ops.unpack_bits, data, to=to, length=count)


def shifted(codes: WeightExpression, bits: int) -> WeightExpression:
    """Signed codes i8 moved up by half their range, so that the least is 0: unsigned codes of so many bits.

    Sums of bytes wrap around, so that 128, which is no i8, may be added as -128.
    """
    half = number(-128 if bits == 8 else 1 << (bits - 1), DType.I8)
    return apply(ops.cast, apply(ops.add, codes, half), dtype=unsigned(bits))


def by_groups(
    codes: WeightExpression,
    scales: WeightExpression,
    zero_points: WeightExpression | None,
    group: int,
    index: WeightExpression | None,
) -> WeightExpression:
    """A quantized weight [out, in]; scales and zero points [out, groups].

    With an index [in] of groups each column says itself which group it is of, and has that group's scale and zero point
    for its own: right whatever the index holds. Whether the columns only stand in another order is for
    `restore-quantized` to see.
    """
    if index is None:
        return apply(ops.quantized, codes, scales, zero_points, group=group)
    places = apply(ops.cast, index, dtype=DType.I64)
    picked = [None if x is None else apply(ops.gather, x, places, axis=1) for x in (scales, zero_points)]
    return apply(ops.quantized, codes, *picked, group=1)
