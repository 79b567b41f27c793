"""Expressions of weights that stand for stored codes: from the floats back to what is stored.

Passes cut, concatenate and cast weights. What they do to whole rows they may as well do to rows of codes, so the
quantized weight can be had from the expression, and nothing is rounded again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphwright.ir import DType, StoredFile, WeightError, ops
from graphwright.ir.attributes import Attribute
from graphwright.ir.declare import OpDef
from graphwright.ir.lazy import torch
from graphwright.ir.types import QuantizedType, TensorType
from graphwright.ir.weights import Applied, WeightExpression, sources

if TYPE_CHECKING:
    from torch import Tensor


class NotStored(Exception):
    """Why a weight is not what is stored, in words."""


@dataclass(frozen=True)
class StoredRows:
    """Rows of a matrix as they are stored: codes [rows, in], scales and zero points [rows, groups].

    With an `order` i64[in], column i of the codes is column order[i] of the matrix.
    """

    codes: WeightExpression
    scales: WeightExpression
    zero_points: WeightExpression | None
    tensor_scale: WeightExpression | None
    group: int
    order: WeightExpression | None = None

    @property
    def format(self) -> tuple[object, ...]:
        """Equal for rows that may stand in one matrix. Order and tensor scale count by what they are."""
        assert isinstance(self.codes.type, TensorType)
        assert isinstance(self.scales.type, TensorType)
        order = None if self.order is None else tuple(map(int, self.order.evaluate()))
        scale = None if self.tensor_scale is None else float(self.tensor_scale.evaluate())
        return (self.codes.type.dtype, self.scales.type.dtype, self.zero_points is None, self.group, scale, order)

    @property
    def quantized(self) -> WeightExpression:
        parts = (self.codes, self.scales, self.zero_points, self.tensor_scale)
        return Applied.of(ops.quantized, parts, {"group": self.group})

    def mapped(self, definition: OpDef, **attributes: Attribute) -> StoredRows:
        """The same done to the rows of all parts."""
        codes, scales, zeros = (
            None if part is None else Applied.of(definition, (part,), attributes)
            for part in (self.codes, self.scales, self.zero_points)
        )
        assert codes is not None
        assert scales is not None
        return StoredRows(codes, scales, zeros, self.tensor_scale, self.group, self.order)


def stands_for_codes(expression: WeightExpression) -> bool:
    """Whether stored codes went into the weight."""
    if not isinstance(expression, Applied):
        return False
    return expression.definition is ops.dequantize or any(stands_for_codes(e) for e in expression.operands if e)


def rows(expression: WeightExpression) -> StoredRows:
    """The rows of a weight [out, in] as they are stored; raises `NotStored`."""
    if not isinstance(expression, Applied):
        raise NotStored("it holds floats")
    operands = [e for e in expression.operands if e is not None]
    match expression.definition:
        case ops.dequantize:
            return _dequantized(operands[0])
        case ops.cast if _widens(operands[0], expression):
            return rows(operands[0])
        case ops.cast:
            raise NotStored(f"its numbers are rounded to {expression.attribute('dtype', DType)}")
        case ops.slice if expression.attribute("axis", int) == 0:
            return rows(operands[0]).mapped(ops.slice, **dict(expression.attributes))
        case ops.concat if expression.attribute("axis", int) in (0, -2):
            return joined([rows(e) for e in operands])
        case ops.transpose if (twice := _transposed(operands[0])) is not None:
            return rows(twice)
        case other:
            raise NotStored(f"{other.name} stands between it and its codes")


def blocks(expression: WeightExpression) -> Iterator[WeightExpression]:
    """The weights, one below the other, that a weight is concatenated from."""
    if isinstance(expression, Applied) and expression.definition is ops.concat:
        for part in expression.operands:
            assert part is not None
            yield from blocks(part)
    else:
        yield expression


def joined(parts: list[StoredRows]) -> StoredRows:
    """The rows of all parts, one below the other; raises `NotStored` where their formats differ."""
    first = parts[0]
    if any(part.format != first.format for part in parts[1:]):
        raise NotStored("its parts have formats, or orders of columns, that differ")
    codes, scales, zeros = (
        None if None in column else Applied.of(ops.concat, column, {"axis": 0})
        for column in zip(*((p.codes, p.scales, p.zero_points) for p in parts), strict=True)
    )
    assert codes is not None
    assert scales is not None
    return StoredRows(codes, scales, zeros, first.tensor_scale, first.group, first.order)


def symmetric(stored: StoredRows) -> StoredRows:
    """With signed codes, where every zero point is the middle of the range; reads the zero points."""
    zeros = stored.zero_points
    if zeros is None:
        return stored
    assert isinstance(zeros.type, TensorType)
    bits = zeros.type.dtype.bits
    if not (zeros.evaluate() == 1 << (bits - 1)).all():
        return stored
    # Sums of bytes wrap around, so that 128, which is no i8, may be subtracted as -128.
    half: dict[str, Attribute] = {"value": -128 if bits == 8 else 1 << (bits - 1), "dtype": DType.I8}
    byte = Applied.of(ops.cast, (stored.codes,), {"dtype": DType.I8})
    moved = Applied.of(ops.sub, (byte, Applied.of(ops.constant, (), half)), {})
    codes = Applied.of(ops.cast, (moved,), {"dtype": DType(f"i{bits}")})
    return StoredRows(codes, stored.scales, None, stored.tensor_scale, stored.group, stored.order)


def _dequantized(expression: WeightExpression) -> StoredRows:
    if not isinstance(expression, Applied) or expression.definition is not ops.quantized:
        raise NotStored("its codes are not stored")
    codes, scales, zeros, tensor_scale = expression.operands
    group = expression.attribute("group", int)
    assert codes is not None
    assert scales is not None
    assert isinstance(expression.type, QuantizedType)
    if expression.type.rank != 2 or expression.type.axis != -1:
        raise NotStored(f"its codes are {expression.type}, not rows with groups along the last axis")
    stored = StoredRows(codes, scales, zeros, tensor_scale, group)
    return _by_index(stored) if group == 1 else stored


def _by_index(stored: StoredRows) -> StoredRows:
    """Columns that each name a group, in the order of their groups, if these are of one size."""
    scales, zeros = stored.scales, stored.zero_points
    index = _picked_by(scales)
    if index is None or (zeros is not None and _picked_by(zeros) != index):
        return stored
    per_group, zero_points = (e.operands[0] if isinstance(e, Applied) else None for e in (scales, zeros))
    assert per_group is not None
    count = per_group.type.shape[1].evaluate({})
    places = index.evaluate()
    if not ((places >= 0) & (places < count)).all():
        stray = int(places[(places < 0) | (places >= count)][0])
        file = next(e for e in sources(index) if isinstance(e, StoredFile))
        raise WeightError(f"{file.path}: tensor '{file.key}' names group {stray}, there are {count}")
    group = _size(places.sort().values, count)
    codes, order = stored.codes, None
    if not _ascending(places):
        order = Applied.of(ops.sort_order, (index,), {})
        codes = Applied.of(ops.gather, (codes, order), {"axis": 1})
    return StoredRows(codes, per_group, zero_points, stored.tensor_scale, 0 if count == 1 else group, order)


def _size(places: Tensor, count: int) -> int:
    """How many columns each group has, of their groups in order."""
    size = int((places == 0).sum())
    if size == 0 or not torch.equal(places, torch.arange(len(places)) // size) or -(-len(places) // size) != count:
        raise NotStored("its groups of columns differ in size")
    return size


def _ascending(places: Tensor) -> bool:
    return bool((places[1:] >= places[:-1]).all())


def _picked_by(expression: WeightExpression) -> WeightExpression | None:
    """The index by which columns are picked."""
    if isinstance(expression, Applied) and expression.definition is ops.gather:
        return expression.operands[1] if dict(expression.attributes)["axis"] == 1 else None
    return None


def _transposed(expression: WeightExpression) -> WeightExpression | None:
    """What is transposed here."""
    return (
        expression.operands[0] if isinstance(expression, Applied) and expression.definition is ops.transpose else None
    )


def _widens(source: WeightExpression, result: Applied) -> bool:
    assert isinstance(source.type, TensorType)
    assert isinstance(result.type, TensorType)
    return {source.type.dtype, result.type.dtype} <= {DType.F32, DType.F64} and (
        source.type.dtype.bits <= result.type.dtype.bits
    )
