"""How weights lie that kernels of this backend read, as expressions that are evaluated when they are written."""

from collections.abc import Mapping

from graphwright.backends.kernel_library import OperandLayout
from graphwright.ir import ops
from graphwright.ir.dialects.cpu.bf16 import narrow_form
from graphwright.ir.dialects.cpu.packed_weights import PACKED, packed_parts, unpacked
from graphwright.ir.dims import Dim, product
from graphwright.ir.types import DType, QuantizedType, TensorType, Type
from graphwright.ir.weights import Applied, WeightExpression

PANEL = 16
"""Rows of a weight that stand side by side, so that a vector holds one column of them: [rows / 16, columns, 16]."""


def panel_count(rows: int) -> int:
    """Panels of a weight with that many rows; the last is filled up with zeros."""
    return -(-rows // PANEL)


def packed_floats(weight: WeightExpression) -> WeightExpression:
    """A matrix [n, k] of f32, bf16 or f16 as [ceil(n / 16), k, 16]; rows that the last panel lacks are zeros."""
    type = weight.type
    assert isinstance(type, TensorType), type
    assert type.rank == 2, type
    assert type.dtype in (DType.F32, DType.BF16, DType.F16), type
    rows = type.shape[0].evaluate({})
    missing = panel_count(rows) * PANEL - rows
    padded = weight
    if missing:
        zeros = Applied.of(
            ops.constant, (), {"value": 0.0, "dtype": type.dtype, "shape": (Dim.of(missing), type.shape[1])}
        )
        padded = Applied.of(ops.concat, (weight, zeros), {"axis": 0})
    shape = (Dim.of(panel_count(rows)), Dim.of(PANEL), type.shape[1])
    return Applied.of(
        ops.transpose, (Applied.of(ops.reshape, (padded,), {"shape": shape}),), {"permutation": (0, 2, 1)}
    )


def unpacked_floats(packed: WeightExpression, type: TensorType) -> WeightExpression:
    """The matrix of that type whose panels these are."""
    rows, columns = (length.evaluate({}) for length in type.shape)
    turned = Applied.of(ops.transpose, (packed,), {"permutation": (0, 2, 1)})
    shape = (Dim.of(panel_count(rows) * PANEL), Dim.of(columns))
    padded = Applied.of(ops.reshape, (turned,), {"shape": shape})
    return Applied.of(ops.slice, (padded,), {"axis": 0, "start": 0, "stop": Dim.of(rows)})


def packed_pairs(weight: WeightExpression) -> WeightExpression:
    """A matrix [n, k] rounded to bf16 as [ceil(n / 16), ceil(k / 2), 16, 2]; what the last ones lack are zeros."""
    narrow = narrow_form(weight) or Applied.of(ops.cast, (weight,), {"dtype": DType.BF16})
    type = narrow.type
    assert isinstance(type, TensorType), type
    rows, columns = (length.evaluate({}) for length in type.shape)
    pairs = -(-columns // 2)
    padded = narrow
    for axis, missing in ((0, panel_count(rows) * PANEL - rows), (1, pairs * 2 - columns)):
        if missing:
            shape = [*padded.type.shape]
            shape[axis] = Dim.of(missing)
            zeros = Applied.of(ops.constant, (), {"value": 0.0, "dtype": DType.BF16, "shape": tuple(shape)})
            padded = Applied.of(ops.concat, (padded, zeros), {"axis": axis})
    shape = tuple(map(Dim.of, (panel_count(rows), PANEL, pairs, 2)))
    return Applied.of(
        ops.transpose, (Applied.of(ops.reshape, (padded,), {"shape": shape}),), {"permutation": (0, 2, 1, 3)}
    )


def unpacked_pairs(packed: WeightExpression, type: TensorType) -> WeightExpression:
    """The matrix of that type whose pairs these are."""
    rows, columns = (length.evaluate({}) for length in type.shape)
    turned = Applied.of(ops.transpose, (packed,), {"permutation": (0, 2, 1, 3)})
    shape = (Dim.of(panel_count(rows) * PANEL), Dim.of(-(-columns // 2) * 2))
    padded = Applied.of(ops.reshape, (turned,), {"shape": shape})
    for axis, length in ((0, rows), (1, columns)):
        padded = Applied.of(ops.slice, (padded,), {"axis": axis, "start": 0, "stop": Dim.of(length)})
    return Applied.of(ops.cast, (padded,), {"dtype": type.dtype})


def _pack_codes(weight: WeightExpression) -> dict[str, WeightExpression]:
    return packed_parts(weight).arrays


def _unpack_codes(type: Type, arrays: Mapping[str, WeightExpression]) -> WeightExpression:
    assert isinstance(type, QuantizedType)
    return unpacked(type, arrays)


def _pack_panels(weight: WeightExpression) -> dict[str, WeightExpression]:
    type = weight.type
    assert isinstance(type, TensorType), type
    return {"packed": packed_floats(weight if type.rank == 2 else _reshaped(weight, _matrix_of(type)))}


def _unpack_panels(type: Type, arrays: Mapping[str, WeightExpression]) -> WeightExpression:
    assert isinstance(type, TensorType)
    matrix = unpacked_floats(arrays["packed"], _matrix_of(type))
    return matrix if type.rank == 2 else _reshaped(matrix, type)


def _matrix_of(type: TensorType) -> TensorType:
    """The type of the matrix of all rows of a stack of matrices."""
    return type.with_shape(product(type.shape[:-1]), type.shape[-1])


def _reshaped(weight: WeightExpression, type: TensorType) -> WeightExpression:
    return Applied.of(ops.reshape, (weight,), {"shape": type.shape})


def _narrow(type: Type, arrays: Mapping[str, WeightExpression]) -> WeightExpression:
    assert isinstance(type, TensorType)
    return Applied.of(ops.cast, (arrays["f32"],), {"dtype": type.dtype})


def _unpack_pairs(type: Type, arrays: Mapping[str, WeightExpression]) -> WeightExpression:
    assert isinstance(type, TensorType)
    return unpacked_pairs(arrays["pairs"], type)


CODES = OperandLayout("codes", tuple(PACKED), _pack_codes, _unpack_codes)
"""A matrix of codes, or a stack of them, as `ir/dialects/cpu/packed_weights.py` describes it."""
PANELS = OperandLayout("panels", ("packed",), _pack_panels, _unpack_panels)
"""A matrix of floats in panels of sixteen rows, or a stack of them as the matrix of all their rows."""
PAIRS = OperandLayout("pairs", ("pairs",), lambda weight: {"pairs": packed_pairs(weight)}, _unpack_pairs)
"""A matrix of bf16 numbers in panels of sixteen rows, in which two neighbours of a row stand together."""
WIDE = OperandLayout(
    "wide", ("f32",), lambda weight: {"f32": Applied.of(ops.cast, (weight,), {"dtype": DType.F32})}, _narrow
)
"""Narrow floats as float32."""
LAYOUTS = (CODES, PANELS, PAIRS, WIDE)
