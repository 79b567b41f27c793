# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Functions of tensor expressions are called by TVM, which has no types.
"""Emission of products whose operands are both computed, and of convolutions."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.emit.emitter import Emitter, Tensor, type_name
from graphwright.backends.tvm.emit.pointwise import aligned
from graphwright.backends.tvm.kernels.matmul import matmul
from graphwright.backends.tvm.tvm_library import te, tirx, topi
from graphwright.ir.dims import Dim, product
from graphwright.ir.graph import Op, Value
from graphwright.ir.ops.shape import as_ints
from graphwright.ir.types import DType, TensorType


def emit_matmul(e: Emitter, op: Op) -> None:
    x, y = op.inputs
    e.computed(op.result, _by_kernel(e, e.single(x), x.tensor.shape, e.single(y), y.tensor.shape, op.result.tensor))


def emit_matmul_by_loops(e: Emitter, op: Op) -> None:
    e.bind(op.result, _product(e, op, *op.inputs, transposed=False))


def emit_linear_by_loops(e: Emitter, op: Op) -> None:
    e.bind(op.result, _product(e, op, op.required("x"), op.required("weight"), transposed=True))


def emit_linear_of_tensors(e: Emitter, op: Op) -> None:
    x, weight, bias, result = op.required("x"), op.required("weight"), op.operand("bias"), op.result.tensor
    rows, (outer, inner) = product(x.tensor.shape[:-1]), weight.tensor.shape
    columns = e.permuted(e.single(weight), [1, 0])
    flat = e.flatten(e.single(x))
    y = _by_kernel(e, flat, (rows, inner), columns, (inner, outer), result.with_shape(rows, outer))
    if bias is not None:
        y = e.te(topi.add, y, e.single(bias))
    e.computed(op.result, e.reshape(y, result.shape))


def _by_kernel(
    e: Emitter, x: Tensor, x_shape: tuple[Dim, ...], y: Tensor, y_shape: tuple[Dim, ...], result: TensorType
) -> Tensor:
    names: dict[Dim, str] = {}

    def size(dim: Dim) -> int | str:
        return names.setdefault(dim, f"size_{len(names)}") if dim.constant is None else dim.constant

    shapes: dict[str, Any] = {"x_shape": tuple(map(size, x_shape)), "y_shape": tuple(map(size, y_shape))}
    (z,) = e.kernel(matmul, [x, y], [result.with_dtype(DType.F32)], **shapes)
    return z


def _product(e: Emitter, op: Op, x: Value, y: Value, *, transposed: bool) -> Tensor:
    """x [..., m, k] times y [..., k, n], or times y [n, k] transposed where x may be a vector too; and a bias."""
    type, bias = op.result.tensor, op.operand("bias") if transposed else None
    shape, dtype, inner = e.shape(type.shape), type_name(type.dtype), e.dim(x.tensor.shape[-1])
    leading = x.tensor.shape[:-1] if transposed else x.tensor.shape[:-2]

    def compute(x_: Any, y_: Any, *bias_: Any) -> Any:
        k = te.reduce_axis((0, inner), "k")

        def term(*index: Any) -> Any:
            if transposed:
                return x_(*aligned(index[:-1], leading), k.var) * y_(index[-1], k.var)
            outer, row, column = index[:-2], index[-2], index[-1]
            left = x_(*aligned(outer, leading), row, k.var)
            right = y_(*aligned(outer, y.tensor.shape[:-2]), k.var, column)
            return left * right

        total = te.compute(shape, lambda *i: te.sum(term(*i), axis=k), name="product")

        def finished(*index: Any) -> Any:
            value = total(*index)
            return (value + bias_[0](index[-1]) if bias_ else value).astype(dtype)

        return te.compute(shape, finished, name="matmul")

    return e.te(compute, *(e.wide(v) for v in (x, y, bias) if v is not None))


def emit_convolution(e: Emitter, op: Op) -> None:
    x, weight, bias = op.required("x"), op.required("weight"), op.operand("bias")
    strides, dilations, padding = (as_ints(op.attributes[n]) for n in ("stride", "dilation", "padding"))
    groups = op.attributes["groups"]
    assert isinstance(groups, int)
    before = padding[: len(strides)]

    def read(tensors: Any, batch: Any, channel: Any, places: Any) -> Any:
        """An element of x, zero beyond its ends."""
        at = [place - b for place, b in zip(places, before, strict=True)]
        lengths = e.shape(x.tensor.shape[2:])
        inside = [tirx.all(i >= 0, i < n) for i, n in zip(at, lengths, strict=True)]
        value = tensors[0](batch, channel, *at)
        return tirx.if_then_else(tirx.all(*inside), value, tirx.const(0, value.ty.dtype))

    operands = [v for v in (x, weight, bias) if v is not None]
    e.bind(op.result, convolved(e, op, operands, weight, read, groups, strides, dilations, bias is not None))


def convolved(
    e: Emitter,
    op: Op,
    operands: list[Value],
    weight: Value,
    read: Any,
    groups: int,
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    biased: bool,
) -> Tensor:
    """The first result: a weight (operand 1) and perhaps a bias (operand 2) over what `read` gives at a place."""
    type = op.results[0].tensor
    shape, dtype = e.shape(type.shape), type_name(type.dtype)
    window = e.shape(weight.tensor.shape[1:])
    each = type.shape[1].exact_div(groups)
    assert each is not None
    outputs = e.dim(each)

    def compute(*tensors: Any) -> Any:
        inputs, *offsets = (te.reduce_axis((0, size), f"r{i}") for i, size in enumerate(window))

        def term(batch: Any, out: Any, *places: Any) -> Any:
            group = 0 if groups == 1 else tirx.floordiv(out, outputs)
            at = [p * s + o.var * d for p, s, o, d in zip(places, strides, offsets, dilations, strict=True)]
            taken = read(tensors, batch, group * window[0] + inputs.var, at)
            return taken * tensors[1](out, inputs.var, *(o.var for o in offsets))

        total = te.compute(shape, lambda *i: te.sum(term(*i), axis=[inputs, *offsets]), name="convolved")

        def finished(*index: Any) -> Any:
            return (total(*index) + tensors[2](index[1]) if biased else total(*index)).astype(dtype)

        return te.compute(shape, finished, name="convolution")

    return e.te(compute, *map(e.wide, operands))
