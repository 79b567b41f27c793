"""Quantized weights as the operators that multiply them read them: other codes and groups for the same numbers, bytes.

None of these ops is run by a program. They are applied to weights when these are written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir import ops
from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.declare import op
from graphwright.ir.dims import Dim
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.quantization import pack_bits
from graphwright.ir.quantized import F4E2M1_VALUES, QuantizedTensor
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.types import DType, QuantizedType, TensorType
from graphwright.ir.weights import Applied, WeightExpression

if TYPE_CHECKING:
    from torch import Tensor


def block_count(inner: int, block: int) -> int:
    """How many blocks a row of that length has; the last may be cut short."""
    return -(-inner // block)


def holds(codes: DType, other: DType) -> bool:
    """Whether every number that `other` stands for is, times one power of two, a code of the integer type `codes`."""
    if other is DType.F4E2M1:
        return codes is DType.I8
    return codes.is_integer and other.is_integer and codes.value[0] == other.value[0] and codes.bits >= other.bits


@op("onnx.regrouped")
def regrouped(weight: QuantizedType, *, to: DType, group: int = 0) -> QuantizedType:
    """The same numbers in codes of `to`, with f32 scales of groups of another size (0: one a row) along the last axis.

    The groups must divide those of the weight, or be the same. Codes of f4e2m1 become integers by doubling them.
    """
    if weight.axis != -1:
        raise IRTypeError(f"{weight} is not grouped along its last axis")
    if weight.minimum:
        raise IRTypeError(f"{weight} has minimums, which operators of blocks do not know")
    if not holds(to, weight.element):
        raise IRTypeError(f"codes of {weight.element} do not fit into {to}")
    if (weight.group is not None and (not group or weight.group % group)) or group < 0:
        raise IRTypeError(f"groups of {group or 'the whole axis'} do not divide those of {weight}")
    return QuantizedType(to, weight.shape, group or None)


@regrouped.reference
def regrouped_reference(weight: QuantizedTensor, *, to: DType, group: int) -> QuantizedTensor:
    type = QuantizedType(to, tuple(map(Dim.of, weight.shape)), group or None)
    scales = weight.scales.float()
    if weight.tensor_scale is not None:
        scales = scales * weight.tensor_scale.float()
    codes = weight.codes
    if weight.type.element is DType.F4E2M1:
        codes = torch.tensor([int(2 * v) for v in F4E2M1_VALUES], dtype=torch.int8)[codes.long()]
        scales = scales / 2
    blocks = 1 if not group else block_count(weight.shape[-1], group)
    repeats = blocks if weight.type.group is None else weight.type.group // group

    def spread(x: Tensor) -> Tensor:
        return x.repeat_interleave(repeats, -1).narrow(-1, 0, blocks)

    zero_points = None if weight.zero_points is None else spread(weight.zero_points)
    return QuantizedTensor(type, codes.to(torch_dtype(to)), spread(scales), zero_points)


@op("onnx.half_codes")
def half_codes(weight: QuantizedType, *, high: bool) -> QuantizedType:
    """The upper or the lower four bits of codes of eight, which together stand for the same numbers.

    With zero point z, code - z is 16 * (code // 16 - z // 16) + (code % 16 - z % 16). Signed codes count from -128 on.
    """
    if weight.element not in (DType.I8, DType.U8):
        raise IRTypeError(f"codes are of {weight.element}, expected eight bits")
    signed = high and weight.symmetric
    return QuantizedType(DType.I4 if signed else DType.U4, weight.shape, weight.group, weight.scale_dtype)


@half_codes.reference
def half_codes_reference(weight: QuantizedTensor, *, high: bool) -> QuantizedTensor:
    type = half_codes.rule(weight.type, high=high)
    assert isinstance(type, QuantizedType)
    if type.symmetric:
        return QuantizedTensor(type, weight.codes >> 4, weight.scales * 16)

    def half(codes: Tensor) -> Tensor:
        return codes >> 4 if high else codes & 15

    if weight.zero_points is None:
        zero_points = torch.zeros_like(weight.scales, dtype=torch.uint8)
        return QuantizedTensor(type, half(weight.codes).to(torch.uint8), weight.scales, zero_points)
    scales = weight.scales * 16 if high else weight.scales
    return QuantizedTensor(type, half(weight.codes), scales, half(weight.zero_points))


@op("onnx.block_codes")
def block_codes(weight: QuantizedType) -> TensorType:
    """The codes of a matrix [n, k] in groups of `block` as u8 [n, blocks, block * bits / 8], lowest bits first.

    Signed codes count from the least, so zero is 2^(bits - 1). What a last block lacks is filled with zeros.
    """
    if weight.rank != 2 or weight.group is None or weight.axis != -1 or not weight.element.is_integer:
        raise IRTypeError(f"weight is {weight}, expected a matrix of integers in groups along the last axis")
    inner, bits = weight.shape[1].constant, weight.element.bits
    assert inner is not None, "checked where it was put together"
    if weight.group * bits % 8:
        raise IRTypeError(f"a group of {weight} does not fill bytes")
    shape = (weight.shape[0], Dim.of(block_count(inner, weight.group)), Dim.of(weight.group * bits // 8))
    return TensorType(DType.U8, shape)


@block_codes.reference
def block_codes_reference(weight: QuantizedTensor) -> Tensor:
    block, bits = weight.type.group, weight.type.element.bits
    assert block is not None
    codes, (rows, inner), blocks = weight.codes, weight.shape, weight.scales.shape[1]
    # Of bytes, so that adding to signed codes wraps around where it has to.
    stored = codes.view(torch.uint8)
    if weight.type.symmetric:
        stored = stored + (1 << (bits - 1))
    missing = blocks * block - inner
    if missing:
        zero = torch.full((rows, 1), 1 << (bits - 1), dtype=torch.uint8)
        last = zero if weight.zero_points is None else weight.zero_points[:, -1:]
        stored = torch.cat([stored, last.expand(rows, missing)], 1)
    packed = pack_bits.evaluate([stored], {"bits": bits})
    return packed.reshape(rows, blocks, block * bits // 8)


@regrouped.cost
@half_codes.cost
@block_codes.cost
def recoded_cost(op: Op) -> Cost:
    """One operation a code."""
    return default_cost(op, op.inputs[0].type.elements)


def block_parts(weight: WeightExpression) -> tuple[WeightExpression, WeightExpression, WeightExpression | None]:
    """Codes, scales [n, blocks] and zero points u8 [n, bytes] of a weight in blocks, as its operators read them."""
    type = weight.type
    assert isinstance(type, QuantizedType)
    zero_points = None
    if not type.symmetric:
        points = Applied.of(ops.quantized_zero_points, (weight,), {})
        zero_points = Applied.of(ops.pack_bits, (points,), {"bits": type.element.bits})
    return Applied.of(block_codes, (weight,), {}), Applied.of(ops.quantized_scales, (weight,), {}), zero_points


def unblocked(codes: Tensor, scales: Tensor, zero_points: Tensor | None, bits: int, block: int) -> Tensor:
    """The numbers [n, blocks * block] that such parts stand for, computed in the type of the scales."""
    rows, blocks = scales.shape
    length = blocks * block
    element = DType(f"u{bits}")
    unpacked = ops.unpack_bits.evaluate([codes.reshape(rows, -1)], {"to": element, "length": length})
    numbers: Tensor = unpacked.reshape(rows, blocks, block).to(scales.dtype)
    if zero_points is None:
        numbers = numbers - (1 << (bits - 1))
    else:
        points: Tensor = ops.unpack_bits.evaluate([zero_points], {"to": element, "length": blocks})
        numbers = numbers - points.to(scales.dtype).unsqueeze(-1)
    return (numbers * scales.unsqueeze(-1)).reshape(rows, length)
