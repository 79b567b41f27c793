"""Emission of products with stored weights, and of rows of quantized tables."""

from __future__ import annotations

from typing import Any

from graphwright.backends.element_types import MANIFEST_NAMES
from graphwright.backends.tvm.emit.emitter import Emitter, Tensor, flat_type, row_count
from graphwright.backends.tvm.kernels.bf16_linear import bf16_linear
from graphwright.backends.tvm.kernels.float_linear import linear
from graphwright.backends.tvm.kernels.quantized_rows import quantized_rows
from graphwright.backends.tvm.kernels.rounded_linear import rounded_linear
from graphwright.backends.tvm.kernels.weight_only_linear import weight_only_linear
from graphwright.ir.dialects.cpu.packed_weights import PackedWeight, packed_layout
from graphwright.ir.dims import product as product_of
from graphwright.ir.graph import Op
from graphwright.ir.types import DType, QuantizedType, TensorType


def emit_linear_by_codes(e: Emitter, op: Op) -> None:
    _product(e, op, weight_only_linear, weight=_layout(op))


def emit_rounded_linear(e: Emitter, op: Op) -> None:
    _product(e, op, rounded_linear, weight=_layout(op), rounding=op.attributes["group"])


def _layout(op: Op) -> PackedWeight:
    type = op.required("weight").type
    assert isinstance(type, QuantizedType), "weights of codes alone"
    return packed_layout(type)


def emit_linear(e: Emitter, op: Op) -> None:
    weight = op.required("weight").tensor
    outer, inner = (d.evaluate({}) for d in weight.shape)
    _product(e, op, linear, inner=inner, outer=outer, weight_dtype=MANIFEST_NAMES[weight.dtype])


def emit_bf16_linear(e: Emitter, op: Op) -> None:
    outer, inner = (d.evaluate({}) for d in op.required("weight").tensor.shape)
    _product(e, op, bf16_linear, held=[paired(e, op)], inner=inner, outer=outer)


def paired(e: Emitter, op: Op) -> Tensor:
    """The weight of an op, bf16 [panels, pairs, 16, 2], as kernels see it: i32 [panels, pairs, 16]."""
    (pairs,) = e.laid_out(op, "weight")
    return e.viewed(pairs, TensorType(DType.I32, pairs.type.shape[:-1]))


def _product(e: Emitter, op: Op, make: Any, *, held: list[Tensor] | None = None, **parameters: Any) -> None:
    """A linear by a kernel (x [M, inner], arrays of the weight, bias if there is one, y [M, outer])."""
    x, bias = op.required("x"), op.operand("bias")
    weight = e.laid_out(op, "weight") if held is None else held
    (y,) = e.kernel(
        make,
        [e.flatten(e.single(x)), *weight, *([] if bias is None else [e.single(bias)])],
        [flat_type(op.result.tensor.with_dtype(DType.F32))],
        settings=e.settings,
        tokens=row_count(op.result.type.shape),
        bias=bias is not None,
        **parameters,
    )
    e.computed(op.result, e.reshape(y, op.result.type.shape))


def emit_quantized_embedding(e: Emitter, op: Op) -> None:
    ids, shape = op.required("indices"), op.result.type.shape
    rows = e.reshape(e.value(ids), (product_of(ids.type.shape),))
    (y,) = e.kernel(
        quantized_rows,
        [rows, *e.laid_out(op, "weight")],
        [flat_type(op.result.tensor.with_dtype(DType.F32))],
        tokens=row_count(shape),
        table=_layout(op),
    )
    e.computed(op.result, e.reshape(y, shape))
