"""Quantized matrices in the layout that kernels read (`kernels/packed_weight.py`).

None of these ops is run by a program. They are applied to weights when these are written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from graphwright.backends.tvm.kernels.packed_weight import LANES, PackedWeight
from graphwright.ir.declare import op
from graphwright.ir.dialects.cpu.capabilities import code_bits, packable
from graphwright.ir.dims import Dim
from graphwright.ir.errors import IRTypeError
from graphwright.ir.lazy import torch
from graphwright.ir.quantized import F4E2M1_VALUES, QuantizedTensor
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.types import DType, QuantizedType, TensorType
from graphwright.ir.weights import Applied, WeightExpression

if TYPE_CHECKING:
    from torch import Tensor

_SCALES: dict[DType, Literal["float16", "bfloat16", "float32"]] = {
    DType.F16: "float16",
    DType.BF16: "bfloat16",
    DType.F32: "float32",
}
_STORED_SCALES = {name: dtype for dtype, name in _SCALES.items()}


@dataclass(frozen=True)
class PackedParts:
    """The layout of a packed matrix, and its arrays in the order in which kernels take them."""

    layout: PackedWeight
    codes: WeightExpression
    scales: WeightExpression
    zero_points: WeightExpression | None


def packed_layout(type: QuantizedType) -> PackedWeight:
    """The layout of a weight of that type. Raises `IRTypeError` where `packable` says why."""
    reason = packable(type)
    if reason is not None:
        raise IRTypeError(reason)
    outer, inner = (length.constant for length in type.shape)
    assert outer is not None, "checked above"
    assert inner is not None, "checked above"
    # Halves of f4e2m1 are whole numbers of units of half a scale; and scales that are multiplied do not fit 16 bits.
    plain = type.element is not DType.F4E2M1 and not type.tensor_scale
    scale = _SCALES.get(type.scale_dtype, "float32") if plain else "float32"
    return PackedWeight(outer, inner, code_bits(type), type.group or 0, scale, zero_points=not type.symmetric)


def packed_parts(weight: WeightExpression) -> PackedParts:
    """A quantized matrix as the arrays that kernels read."""
    assert isinstance(weight.type, QuantizedType)
    layout = packed_layout(weight.type)
    zero_points = Applied.of(packed_zero_points, (weight,), {}) if layout.zero_points else None
    return PackedParts(
        layout, Applied.of(packed_codes, (weight,), {}), Applied.of(packed_scales, (weight,), {}), zero_points
    )


@op("tvm.packed_codes")
def packed_codes(weight: QuantizedType) -> TensorType:
    """The codes of a matrix, u8[blocks, steps, 64]."""
    return _bytes(packed_layout(weight).codes_shape)


@packed_codes.reference
def _(weight: QuantizedTensor) -> Tensor:
    layout = packed_layout(weight.type)
    codes = weight.codes
    if weight.type.element is DType.F4E2M1:
        codes = torch.tensor([int(2 * v) for v in F4E2M1_VALUES], dtype=torch.int8)[codes.long()]
    # Of bytes, so that adding to signed codes wraps around where it has to.
    stored = codes.view(torch.uint8)
    if weight.type.symmetric:
        stored = stored + layout.middle
    inner = layout.steps * layout.step - layout.inner
    padded = torch.nn.functional.pad(stored, (0, inner, 0, layout.blocks * LANES - layout.outer))
    quads = padded.reshape(layout.blocks, LANES, layout.steps, layout.step // 4, 4).permute(3, 0, 2, 1, 4)
    packed = quads[0] if layout.bits == 8 else quads[0] | quads[1] << 4
    return packed.reshape(layout.codes_shape).contiguous()


@op("tvm.packed_scales")
def packed_scales(weight: QuantizedType) -> TensorType:
    """The scales of a matrix as bytes, u8[blocks, groups, 16 * bytes of a scale]."""
    return _bytes(packed_layout(weight).scales_shape)


@packed_scales.reference
def _(weight: QuantizedTensor) -> Tensor:
    layout = packed_layout(weight.type)
    scales = weight.scales
    if weight.tensor_scale is not None:
        scales = scales.float() * weight.tensor_scale.float()
    if weight.type.element is DType.F4E2M1:
        scales = scales.float() / 2
    stored = scales.to(torch_dtype(_STORED_SCALES[layout.scale]))
    return _lanes_last(stored, layout).view(torch.uint8)


@op("tvm.packed_zero_points")
def packed_zero_points(weight: QuantizedType) -> TensorType:
    """The zero points of a matrix, u8[blocks, groups, 16]."""
    if weight.symmetric:
        raise IRTypeError(f"{weight} has no zero points")
    return _bytes(packed_layout(weight).zero_points_shape)


@packed_zero_points.reference
def _(weight: QuantizedTensor) -> Tensor:
    assert weight.zero_points is not None
    return _lanes_last(weight.zero_points.view(torch.uint8), packed_layout(weight.type))


def _lanes_last(numbers: Tensor, layout: PackedWeight) -> Tensor:
    """Numbers [outer, groups] as [blocks, groups, 16], zeros for rows that the matrix lacks."""
    padded = torch.nn.functional.pad(numbers, (0, 0, 0, layout.blocks * LANES - layout.outer))
    return padded.reshape(layout.blocks, LANES, layout.groups).transpose(1, 2).contiguous()


def _bytes(shape: tuple[int, ...]) -> TensorType:
    return TensorType(DType.U8, tuple(map(Dim.of, shape)))
