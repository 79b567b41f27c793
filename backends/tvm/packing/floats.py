"""Float weights, packed: rows in panels of sixteen, as the kernels of `kernels/float_linear.py` read them."""

from __future__ import annotations

from graphwright.backends.tvm.kernels.float_panels import PANEL, panel_count
from graphwright.ir import ops
from graphwright.ir.dims import Dim
from graphwright.ir.types import DType, TensorType
from graphwright.ir.weights import Applied, WeightExpression


def packed_floats(weight: WeightExpression) -> WeightExpression:
    """A matrix [n, k] of f32, bf16 or f16 as [ceil(n / 16), k, 16]; rows that the last panel lacks are zeros."""
    type = weight.type
    assert isinstance(type, TensorType), type
    assert type.rank == 2, type
    assert type.dtype in (DType.F32, DType.BF16, DType.F16), type
    rows = type.shape[0].constant
    assert rows is not None, "weights have fixed shapes"
    panels = panel_count(rows)
    missing = panels * PANEL - rows
    padded = weight
    if missing:
        zeros = Applied.of(
            ops.constant, (), {"value": 0.0, "dtype": type.dtype, "shape": (Dim.of(missing), type.shape[1])}
        )
        padded = Applied.of(ops.concat, (weight, zeros), {"axis": 0})
    shape = (Dim.of(panels), Dim.of(PANEL), type.shape[1])
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
