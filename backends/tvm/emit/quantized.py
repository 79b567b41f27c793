"""Emission of products with quantized weights, and of rows of quantized tables."""

from __future__ import annotations

from typing import Any

from graphwright.backends.element_types import MANIFEST_NAMES
from graphwright.backends.tvm.emit.emitter import Emitter, Tensor, flat_type, row_count
from graphwright.backends.tvm.emit.table import emits
from graphwright.backends.tvm.kernels.float_linear import linear
from graphwright.backends.tvm.kernels.quantized_float_linear import quantized_float_linear
from graphwright.backends.tvm.kernels.quantized_linear import quantized_linear
from graphwright.backends.tvm.kernels.quantized_rows import quantized_rows
from graphwright.backends.tvm.packing.floats import packed_floats
from graphwright.ir import ops
from graphwright.ir.dialects.cpu.capabilities import packable
from graphwright.ir.dialects.cpu.packed_weights import PackedWeight, packed_parts
from graphwright.ir.dialects.cpu.quantized import rounded_linear
from graphwright.ir.dims import product as product_of
from graphwright.ir.errors import UnsupportedError
from graphwright.ir.graph import Op
from graphwright.ir.types import DType, QuantizedType
from graphwright.ir.weights import Weight


def quantized_product(e: Emitter, op: Op, weight: Weight) -> None:
    """A linear by the kernel for the codes of its weight."""
    layout, packed = _packed(e, weight)
    product(e, op, quantized_float_linear, packed, weight=layout)


@emits(rounded_linear)
def emit_rounded_linear(e: Emitter, op: Op) -> None:
    weight = op.required("weight").weight
    assert weight is not None, "codes of weights alone"
    layout, packed = _packed(e, weight)
    product(e, op, quantized_linear, packed, weight=layout, rounding=op.attributes["group"])


def _packed(e: Emitter, weight: Weight) -> tuple[PackedWeight, list[Tensor]]:
    """A quantized weight's layout, and its arrays."""
    parts = packed_parts(weight.expression)
    arrays = {"codes": parts.codes, "scales": parts.scales, "zero_points": parts.zero_points}
    return parts.layout, [e.packed(weight, label, part) for label, part in arrays.items() if part is not None]


def float_product(e: Emitter, op: Op, weight: Weight) -> None:
    """A linear whose weight is stored as floats."""
    packed = e.packed(weight, "packed", packed_floats(weight.expression))
    outer, inner = (d.evaluate({}) for d in weight.type.shape)
    assert not isinstance(weight.type, QuantizedType)
    dtype = MANIFEST_NAMES[weight.type.dtype]
    product(e, op, linear, [packed], inner=inner, outer=outer, weight_dtype=dtype)


def product(e: Emitter, op: Op, make: Any, weights: list[Tensor], **parameters: Any) -> None:
    """A linear by a kernel (x [M, inner], weights…, bias if there is one, y [M, outer])."""
    x, bias = op.required("x"), op.operand("bias")
    (y,) = e.kernel(
        make,
        [e.flatten(e.single(x)), *weights, *([] if bias is None else [e.single(bias)])],
        [flat_type(op.result.tensor.with_dtype(DType.F32))],
        tokens=row_count(op.result.type.shape),
        bias=bias is not None,
        **parameters,
    )
    e.computed(op.result, e.reshape(y, op.result.type.shape))


@emits(ops.quantized_embedding)
def emit_quantized_embedding(e: Emitter, op: Op) -> None:
    table, ids = op.required("weight"), op.required("indices")
    if table.weight is None:
        raise UnsupportedError("its table is computed in the graph")
    assert isinstance(table.type, QuantizedType)
    reason = packable(table.type)
    if reason is not None:
        raise UnsupportedError(reason)
    layout, packed = _packed(e, table.weight)
    shape = op.result.type.shape
    rows = e.reshape(e.value(ids), (product_of(ids.type.shape),))
    (y,) = e.kernel(
        quantized_rows,
        [rows, *packed],
        [flat_type(op.result.tensor.with_dtype(DType.F32))],
        tokens=row_count(shape),
        table=layout,
    )
    e.computed(op.result, e.reshape(y, shape))
