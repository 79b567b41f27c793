"""Emission of products with quantized weights, and of rows of quantized tables."""

from __future__ import annotations

from typing import Any

from graphwright.backends.element_types import MANIFEST_NAMES
from graphwright.backends.tvm.emit.emitter import Emitter, row_count
from graphwright.backends.tvm.emit.table import emits
from graphwright.backends.tvm.kernels.float_linear import linear
from graphwright.backends.tvm.kernels.packed_weight import PackedWeight, Spans
from graphwright.backends.tvm.kernels.quantized_float_linear import quantized_float_linear
from graphwright.backends.tvm.kernels.quantized_linear import quantized_linear
from graphwright.backends.tvm.kernels.quantized_rows import quantized_rows
from graphwright.backends.tvm.packing.floats import packed_floats
from graphwright.backends.tvm.packing.quantized import cannot_pack, packed_layout, packed_parts
from graphwright.ir import ops
from graphwright.ir.dims import product as product_of
from graphwright.ir.errors import UnsupportedError
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.types import DType, QuantizedType
from graphwright.ir.weights import Applied, Weight


def absorbed_rounding(graph: Graph) -> set[Op]:
    """The ops that round activations and whose work the kernels of all products behind them do."""
    return {
        op
        for op in graph
        if op.definition is ops.fake_quantize
        and op.result.uses
        and not graph.is_output(op.result)
        and all(user.definition is ops.linear and rounded_group(user) is not None for user, _ in op.result.uses)
    }


def rounded_group(op: Op) -> int | None:
    """In groups of how many a linear's x has been rounded to int8 for a kernel that does so; None where that is not."""
    weight, before = op.required("weight"), op.required("x").defined_by(ops.fake_quantize)
    if before is None or before.attributes["to"] is not DType.I8 or before.operand("scale") is not None:
        return None
    if not isinstance(weight.type, QuantizedType) or weight.weight is None or cannot_pack(weight.type) is not None:
        return None
    group = before.attributes["group"]
    assert isinstance(group, int), "declared so"
    return group if _multiplies(packed_layout(weight.type), group) else None


def _multiplies(weight: PackedWeight, group: int) -> bool:
    try:
        Spans(weight, group)
    except ValueError:
        return False
    return True


def quantized_product(e: Emitter, op: Op, weight: Weight) -> None:
    """A linear whose weight is quantized, by the kernel for its codes or, where there is none, of floats."""
    assert isinstance(weight.type, QuantizedType)
    if cannot_pack(weight.type) is not None:
        floats = Applied.of(ops.dequantize, (weight.expression,), {"dtype": DType.F32})
        float_product(e, op, Weight(f"{weight.name}.f32", floats))
        return
    layout, packed = _packed(e, weight)
    group = rounded_group(op)
    if group is None:
        product(e, op, quantized_float_linear, op.required("x"), packed, weight=layout)
        return
    before = op.required("x").owner
    assert before is not None
    product(e, op, quantized_linear, before.required("x"), packed, weight=layout, rounding=group)


def _packed(e: Emitter, weight: Weight) -> tuple[PackedWeight, list[Any]]:
    """A quantized weight's layout, and its arrays as parameters."""
    parts = packed_parts(weight.expression)
    arrays = {"codes": parts.codes, "scales": parts.scales, "zero_points": parts.zero_points}
    return parts.layout, [e.packed(weight, label, part) for label, part in arrays.items() if part is not None]


def float_product(e: Emitter, op: Op, weight: Weight) -> None:
    """A linear whose weight is stored as floats."""
    packed = e.packed(weight, "packed", packed_floats(weight.expression))
    outer, inner = (d.evaluate({}) for d in weight.type.shape)
    assert not isinstance(weight.type, QuantizedType)
    dtype = MANIFEST_NAMES[weight.type.dtype]
    product(e, op, linear, op.required("x"), [packed], inner=inner, outer=outer, weight_dtype=dtype)


def product(e: Emitter, op: Op, make: Any, x: Value, weights: list[Any], **parameters: Any) -> None:
    """A linear by a kernel (x [M, inner], weights…, bias if there is one, y [M, outer])."""
    bias = op.operand("bias")
    (y,) = e.kernel(
        make,
        [e.flatten(e.single(x), x.tensor), *weights, *([] if bias is None else [e.single(bias)])],
        [e.flat_type(op.result.tensor.with_dtype(DType.F32))],
        tokens=row_count(op.result.type.shape),
        bias=bias is not None,
        **parameters,
    )
    e.computed(op.result, e.reshape(y, op.result.type.shape))


@emits(ops.quantized_embedding)
def _(e: Emitter, op: Op) -> None:
    table, ids = op.required("weight"), op.required("indices")
    if table.weight is None:
        raise UnsupportedError("its table is computed in the graph")
    assert isinstance(table.type, QuantizedType)
    reason = cannot_pack(table.type)
    if reason is not None:
        raise UnsupportedError(reason)
    layout, packed = _packed(e, table.weight)
    shape = op.result.type.shape
    rows = e.reshape(e.value(ids), (product_of(ids.type.shape),))
    (y,) = e.kernel(
        quantized_rows,
        [rows, *packed],
        [e.flat_type(op.result.tensor.with_dtype(DType.F32))],
        tokens=row_count(shape),
        table=layout,
    )
    e.computed(op.result, e.reshape(y, shape))
