"""Merged weights as expressions: W + s B A, its form with magnitudes (DoRA), and rows put in place of others.

They are computed in float32, or float64 where the weight is, and rounded once to the weight's element type, as PEFT's
`merge_and_unload` does it.

Sources: LoRA (arXiv 2106.09685); DoRA (arXiv 2402.09353), section 4.1; github.com/huggingface/peft,
src/peft/tuners/lora/layer.py (get_delta_weight, merge) and variants.py (DoraLinearVariant.merge_unsafe).
"""

from collections.abc import Sequence

import torch

from graphwright.frontend.quantized.expressions import apply
from graphwright.ir import Dim, DType, StoredArray, TensorType, ops
from graphwright.ir.weights import WeightExpression


def cast(x: WeightExpression, dtype: DType) -> WeightExpression:
    assert isinstance(x.type, TensorType), "adapters and what they change are plain tensors"
    return x if x.type.dtype is dtype else apply(ops.cast, x, dtype=dtype)


def wide(dtype: DType) -> DType:
    """The element type in which a weight of this one is merged."""
    return DType.F64 if dtype is DType.F64 else DType.F32


def reshaped(x: WeightExpression, *lengths: int) -> WeightExpression:
    return apply(ops.reshape, x, shape=tuple(map(Dim.of, lengths)))


def permuted(x: WeightExpression, *order: int) -> WeightExpression:
    return apply(ops.transpose, x, permutation=order)


def scaled(x: WeightExpression, factor: float, dtype: DType) -> WeightExpression:
    """x in an element type, times a number."""
    return apply(ops.mul, cast(x, dtype), apply(ops.constant, value=float(factor), dtype=dtype, shape=()))


def product(a: WeightExpression, b: WeightExpression, scaling: float, dtype: DType) -> WeightExpression:
    """s B A of A [..., r, in] and B [..., out, r]: [..., out, in]."""
    return scaled(apply(ops.matmul, cast(b, dtype), cast(a, dtype)), scaling, dtype)


def added(weight: WeightExpression, change: WeightExpression, dtype: DType) -> WeightExpression:
    """weight + change, both of one shape, in the weight's element type `dtype`."""
    exact = wide(dtype)
    return cast(apply(ops.add, cast(cast(weight, dtype), exact), cast(change, exact)), dtype)


def with_magnitudes(
    matrix: WeightExpression, change: WeightExpression, magnitude: WeightExpression, rows: int, dtype: DType
) -> WeightExpression:
    """DoRA: the rows of matrix + change [out, in], each as long as its magnitude [out] says."""
    exact = wide(dtype)
    changed = apply(ops.add, cast(cast(matrix, dtype), exact), change)
    squares = apply(ops.sum, apply(ops.mul, changed, changed), axes=(1,), keepdims=True)
    factor = apply(ops.div, reshaped(cast(magnitude, exact), rows, 1), apply(ops.sqrt, squares))
    return cast(apply(ops.mul, factor, changed), dtype)


def with_rows(weight: WeightExpression, rows: WeightExpression, places: Sequence[int], height: int) -> WeightExpression:
    """The weight [height, width] with the rows [n, width] at these places, all different."""
    assert isinstance(weight.type, TensorType), "an embedding's weight"
    order = torch.arange(height)
    order[list(places)] = torch.arange(height, height + len(places))
    both = apply(ops.concat, weight, cast(rows, weight.type.dtype), axis=0)
    return apply(ops.gather, both, StoredArray.of(order), axis=0)
