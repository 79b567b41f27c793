"""Expressions of weights that stand for stored codes: from the floats back to what is stored.

Passes cut, concatenate and cast weights. What they do to whole rows they may as well do to rows of codes, so the
quantized weight can be had from the expression, and nothing is rounded again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
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
    """Rows of a matrix as they are stored: codes [rows, in], scales, zero points and minimums [rows, groups].

    With an `order` i64[in], column i of the codes is column order[i] of the matrix.
    """

    codes: WeightExpression
    scales: WeightExpression
    zero_points: WeightExpression | None
    tensor_scale: WeightExpression | None
    group: int
    order: WeightExpression | None = None
    minimums: WeightExpression | None = None

    @property
    def parts_of_rows(self) -> dict[str, WeightExpression | None]:
        """The parts that have the rows of the matrix."""
        return {
            "codes": self.codes,
            "scales": self.scales,
            "zero_points": self.zero_points,
            "minimums": self.minimums,
        }

    @property
    def format(self) -> tuple[object, ...]:
        """Equal for rows that may stand in one matrix. Order and tensor scale count by what they are."""
        order = None if self.order is None else tuple(map(int, self.order.evaluate()))
        scale = None if self.tensor_scale is None else float(self.tensor_scale.evaluate())
        dtypes = [p.type.dtype if p and isinstance(p.type, TensorType) else None for p in self.parts_of_rows.values()]
        return (*dtypes, self.group, scale, order)

    @property
    def quantized(self) -> WeightExpression:
        parts = (self.codes, self.scales, self.zero_points, self.tensor_scale, self.minimums)
        return Applied.of(ops.quantized, parts, {"group": self.group})

    def mapped(self, definition: OpDef, **attributes: Attribute) -> StoredRows:
        """The same done to the rows of all parts."""
        parts = self.parts_of_rows.items()
        return replace(self, **{n: Applied.of(definition, (part,), attributes) for n, part in parts if part})


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
    names = [name for name, part in first.parts_of_rows.items() if part is not None]
    return replace(
        first, **{n: Applied.of(ops.concat, tuple(p.parts_of_rows[n] for p in parts), {"axis": 0}) for n in names}
    )


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
    return replace(stored, codes=codes, zero_points=None)


def _dequantized(expression: WeightExpression) -> StoredRows:
    if not isinstance(expression, Applied) or expression.definition is not ops.quantized:
        raise NotStored("its codes are not stored")
    codes, scales, zeros, tensor_scale, minimums = expression.operands
    group = expression.attribute("group", int)
    assert codes is not None
    assert scales is not None
    assert isinstance(expression.type, QuantizedType)
    if expression.type.rank != 2 or expression.type.axis != -1:
        raise NotStored(f"its codes are {expression.type}, not rows with groups along the last axis")
    stored = StoredRows(codes, scales, zeros, tensor_scale, group, minimums=minimums)
    return _by_index(stored) if group == 1 else stored


def _by_index(stored: StoredRows) -> StoredRows:
    """Columns that each name a group, in the order of their groups, if these are of one size."""
    index = _picked_by(stored.scales)
    picked = {n: e for n, e in stored.parts_of_rows.items() if isinstance(e, Applied) and n != "codes"}
    if index is None or any(_picked_by(each) != index for each in picked.values()):
        return stored
    per_group = {name: each.operands[0] for name, each in picked.items()}
    scales = per_group["scales"]
    assert scales is not None
    count = scales.type.shape[1].evaluate({})
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
    return replace(stored, codes=codes, group=0 if count == 1 else group, order=order, **per_group)


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
