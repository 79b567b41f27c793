"""Quantized weights: put together from their parts, rounded from floats, taken apart, read; activations, rounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.cost import Cost, default_cost, least
from graphwright.ir.declare import AxisFlow, OpDef, op
from graphwright.ir.dims import Dim
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.rules import keep_but, last, normal_axis, require_float, require_indices
from graphwright.ir.quantized import Parts, QuantizedTensor
from graphwright.ir.rounding import Grid, Search, fit, grouped, quantize, ungrouped
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.types import CODE_TYPES, DType, QuantizedType, TensorType

if TYPE_CHECKING:
    from torch import Tensor
    from torch import dtype as TorchDType

__all__ = [
    "dequantize", "fake_quantize", "pack_bits", "quantized", "quantized_codes", "quantized_embedding",
    "quantized_minimums", "quantized_scales", "quantized_tensor_scale", "quantized_zero_points", "round_to_nearest",
    "unpack_bits",
]  # fmt: skip


def _quantized_type(
    x: TensorType, element: DType, group: int, scale: DType, axis: int, tensor_scale: bool, minimum: bool
) -> QuantizedType:
    """Groups along an axis of fixed length; 0 is one group for all of it."""
    normal_axis(axis, x.rank)
    # Counted from the end, as text does, so that equal types are equal.
    from_end = axis if axis < 0 else axis - x.rank
    type = QuantizedType(element, x.shape, group or None, scale, from_end, tensor_scale, minimum)
    if type.problem is not None:
        raise IRTypeError(type.problem)
    if group < 0:
        raise IRTypeError(f"a group of {group}")
    if x.shape[axis].constant is None:
        raise IRTypeError(f"axis {axis} of {x} has no fixed length")
    return type


@op("quantized", view=True)
def quantized(
    codes: TensorType,
    scales: TensorType,
    zero_points: TensorType | None = None,
    tensor_scale: TensorType | None = None,
    minimums: TensorType | None = None,
    *,
    group: int = 0,
    axis: int = -1,
) -> QuantizedType:
    """A quantized weight of its parts: codes, one scale a group of `group` codes along the axis (0: the whole axis).

    scales count groups along the axis, and so do zero_points or minimums, of which unsigned codes have one;
    tensor_scale is f32[].
    """
    has_minimums = minimums is not None
    type = _quantized_type(codes, codes.dtype, group, scales.dtype, axis, tensor_scale is not None, has_minimums)
    if zero_points is None and "zero_points" in type.parts:
        raise IRTypeError(f"codes of {codes.dtype} without zero points or minimums")
    given = {"scales": scales, "zero_points": zero_points, "tensor_scale": tensor_scale, "minimums": minimums}
    for name, part in given.items():
        expected = type.parts.get(name)
        if part != expected:
            raise IRTypeError(f"{name} are {part}, expected {expected or f'none in {type}'}")
    return type


@quantized.reference
def quantized_reference(*parts: Tensor | None, group: int, axis: int) -> Parts:
    codes, scales, *others = parts
    assert codes is not None
    assert scales is not None
    return Parts(codes, scales, *others)


@op("round_to_nearest")
def round_to_nearest(
    x: TensorType,
    *,
    to: DType,
    group: int = 0,
    scale: DType = DType.F32,
    axis: int = -1,
    tensor_scale: bool = False,
    search: Search = "absmax",
    minimum: bool = False,
) -> QuantizedType:
    """x in codes of `to`, each the nearest, with one scale of type `scale` a group (0: the whole axis).

    The scale is the least that cuts nothing off (absmax), or that of the least squared error (mse). With `minimum`
    groups have minimums in place of zero points: by absmax the least of their numbers.
    """
    require_float("x", x)
    return _quantized_type(x, to, group, scale, axis, tensor_scale, minimum)


@round_to_nearest.reference
def round_to_nearest_reference(
    x: Tensor, *, to: DType, group: int, scale: DType, axis: int, tensor_scale: bool, search: Search, minimum: bool
) -> QuantizedTensor:
    shape = tuple(map(Dim.of, x.shape))
    return quantize(x, QuantizedType(to, shape, group or None, scale, axis, tensor_scale, minimum), search)


def _op_of_part(part: str, doc: str) -> OpDef:
    """Declares the op `quantized_PART`, which gives that part of a quantized weight."""

    def rule(weight: QuantizedType) -> TensorType:
        if part not in weight.parts:
            raise IRTypeError(f"{weight} has no {part.replace('_', ' ')}")
        return weight.parts[part]

    def reference(weight: QuantizedTensor) -> Tensor:
        return getattr(weight, part)

    rule.__doc__ = doc
    declared = op(f"quantized_{part}", view=True)(rule)
    declared.reference(reference)
    return declared


quantized_codes = _op_of_part("codes", "The codes of a quantized weight.")
quantized_scales = _op_of_part("scales", "The scales of a quantized weight, one a group.")
quantized_zero_points = _op_of_part("zero_points", "The zero points of an asymmetric quantized weight, one a group.")
quantized_minimums = _op_of_part("minimums", "The minimums of a quantized weight that has them, one a group.")
quantized_tensor_scale = _op_of_part("tensor_scale", "The f32 number that multiplies all scales of a quantized weight.")


@op("dequantize")
def dequantize(weight: QuantizedType, *, dtype: DType = DType.F32) -> TensorType:
    """The numbers that a quantized weight stands for: (code - zero point) * scale + minimum."""
    if not dtype.is_float:
        raise IRTypeError(f"{dtype} is not floating point")
    return TensorType(dtype, weight.shape)


@dequantize.reference
def dequantize_reference(weight: QuantizedTensor, *, dtype: DType) -> Tensor:
    return weight.dequantize(_computed(dtype))


@dequantize.axes
def dequantize_axes(op: Op) -> AxisFlow:
    return (tuple(range(op.result.type.rank)),)


@op("quantized_embedding")
def quantized_embedding(weight: QuantizedType, indices: TensorType, *, dtype: DType = DType.F32) -> TensorType:
    """`embedding` of a quantized table [vocabulary, size], grouped along the size, as numbers of `dtype`."""
    if weight.rank != 2 or weight.axis != -1:
        raise IRTypeError(f"weight is {weight}, expected two axes, grouped along the last")
    require_indices("indices", indices)
    if not dtype.is_float:
        raise IRTypeError(f"{dtype} is not floating point")
    return TensorType(dtype, (*indices.shape, weight.shape[1]))


@quantized_embedding.reference
def quantized_embedding_reference(weight: QuantizedTensor, indices: Tensor, *, dtype: DType) -> Tensor:
    rows = weight.rows(indices.flatten()).dequantize(_computed(dtype))
    return rows.reshape(*indices.shape, rows.shape[-1])


@quantized_embedding.axes
def quantized_embedding_axes(op: Op) -> AxisFlow:
    return ((None, op.result.type.rank - 1), tuple(range(op.inputs[1].type.rank)))


@quantized_embedding.cost
def quantized_embedding_cost(op: Op) -> Cost:
    weight, indices = op.required("weight").type, op.required("indices").type
    assert isinstance(weight, QuantizedType)
    whole = DType.F32.bits if weight.tensor_scale else 0
    row = (weight.bits - whole).exact_div(weight.shape[0])
    assert row is not None, f"the rows of {weight} are of one size"
    read = least(row * indices.elements + whole, weight.bits)
    return default_cost(op, op.result.type.elements, reads={"weight": read})


@op("fake_quantize")
def fake_quantize(x: TensorType, scale: TensorType | None = None, *, to: DType, group: int = 0) -> TensorType:
    """x rounded to the nearest codes of `to`, as a kernel does that quantizes activations when it runs.

    Each `group` elements of the last axis (0: all of it, a scale a token) have their own scale, by their largest
    magnitude; or all of x has the given scale, f32[], and what does not fit is cut off. The result has x's type: the
    codes times their scales.
    """
    require_float("x", x)
    last("x", x)
    if to not in CODE_TYPES or to.value[0] == "u":
        raise IRTypeError(f"activations are rounded to signed integers or floats, not to {to}")
    if group < 0 or (group and x.shape[-1].constant is None):
        raise IRTypeError(f"groups of {group} of {x}")
    if scale is not None and (scale != TensorType(DType.F32, ()) or group):
        raise IRTypeError(f"scale is {scale} for groups of {group}, expected f32[] for all of x")
    return x


@fake_quantize.reference
def fake_quantize_reference(x: Tensor, scale: Tensor | None = None, *, to: DType, group: int) -> Tensor:
    grid = Grid(to)
    if scale is not None:
        return grid.nearest(x / scale) * scale
    if not x.numel():
        return x
    type = QuantizedType(to, tuple(map(Dim.of, x.shape)), group or None)
    groups = grouped(x, type.group)
    scales = fit(groups, type, "absmax")
    return ungrouped(scales.decode(scales.encode(groups, grid), grid), x.shape[-1])


@fake_quantize.axes
def fake_quantize_axes(op: Op) -> AxisFlow:
    return keep_but(op, *(() if op.operand("scale") is not None else (-1,)))


@fake_quantize.cost
def fake_quantize_cost(op: Op) -> Cost:
    # To find a scale every element is looked at once more, and the scale divided.
    return default_cost(op, op.result.type.elements * (2 if op.operand("scale") is not None else 4))


@op("pack_bits")
def pack_bits(codes: TensorType, *, bits: int) -> TensorType:
    """Codes of b bits [..., n], one after another, lowest bits first: u8 [..., n * b / 8], rounded up."""
    if codes.dtype not in CODE_TYPES or codes.dtype.bits != bits:
        raise IRTypeError(f"codes are {codes}, expected {bits} bits each")
    count = last("codes", codes).constant
    if count is None:
        raise IRTypeError(f"{codes} has no fixed length")
    return TensorType(DType.U8, (*codes.shape[:-1], Dim.of(-(-count * bits // 8))))


@pack_bits.reference
def pack_bits_reference(codes: Tensor, *, bits: int) -> Tensor:
    stored = codes.view(torch.uint8)
    if 8 % bits:
        return _as_bytes((stored.unsqueeze(-1) >> torch.arange(bits, dtype=torch.uint8) & 1).flatten(-2), 1)
    return _as_bytes(stored & ((1 << bits) - 1), bits)


def _as_bytes(parts: Tensor, bits: int) -> Tensor:
    """Parts of so many bits, a divisor of 8, put together to bytes."""
    count = 8 // bits
    padded = torch.nn.functional.pad(parts, (0, -parts.shape[-1] % count))
    padded = padded.reshape(*parts.shape[:-1], padded.shape[-1] // count, count)
    packed = padded[..., 0].clone()
    for i in range(1, count):
        packed |= padded[..., i] << (bits * i)
    return packed


@op("unpack_bits")
def unpack_bits(packed: TensorType, *, to: DType, length: int) -> TensorType:
    """The inverse of `pack_bits`: `length` codes of type `to` out of u8 [..., n]."""
    if packed.dtype is not DType.U8:
        raise IRTypeError(f"packed is {packed}, expected u8")
    if to not in CODE_TYPES:
        raise IRTypeError(f"there are no codes of {to}")
    if length < 0 or last("packed", packed).constant != -(-length * to.bits // 8):
        raise IRTypeError(f"{length} codes of {to} do not fill {packed}")
    return TensorType(to, (*packed.shape[:-1], Dim.of(length)))


@unpack_bits.reference
def unpack_bits_reference(packed: Tensor, *, to: DType, length: int) -> Tensor:
    bits = to.bits
    if 8 % bits:
        single = (packed.unsqueeze(-1) >> torch.arange(8, dtype=torch.uint8) & 1).flatten(-2)
        digits = single.narrow(-1, 0, length * bits).reshape(*packed.shape[:-1], length, bits)
        codes = (digits << torch.arange(bits, dtype=torch.uint8)).sum(-1, dtype=torch.uint8)
    else:
        parts = [packed >> (bits * i) & ((1 << bits) - 1) for i in range(8 // bits)]
        codes = torch.stack(parts, -1).flatten(-2).narrow(-1, 0, length)
    if to.value[0] == "i" and bits < 8:
        # Shifting left and back, as a signed number, repeats the sign bit.
        return (codes << (8 - bits)).view(torch.int8) >> (8 - bits)
    return codes.contiguous().view(torch_dtype(to))


def _computed(dtype: DType) -> TorchDType:
    """What a reference computes a float of that type in."""
    return torch.float64 if dtype is DType.F64 else torch.float32
