"""How a matrix of few bits lies in memory: one layout for all kernels that read it, whatever the number of rows.

Sixteen rows of the matrix are the lanes of a vector, and a step of 64 bytes holds for each of them as many consecutive
codes as fill 32 bits: four of 8 bits, or eight of 4 bits, of which the low halves of the bytes are the first four and
the high halves the others. So four codes of one row meet four of a token in one lane, which is what integer dot
products multiply, and the steps of sixteen rows follow each other.

The numbers stay, their codes and scales not always: halves are stored as twice their numbers, and scales that 16 bits
do not hold, or that a scale of the whole tensor multiplies, as float32 (`stored_type`). A stack of matrices of whole
blocks lies as the matrix of all their rows. No step runs one of these ops:
they are applied when weights are written, and when the text of a lowered program is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.declare import op
from graphwright.ir.dims import Dim, product
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.quantization import quantized, quantized_minimums, quantized_zero_points
from graphwright.ir.ops.shape import reshape
from graphwright.ir.quantized import F4E2M1_VALUES, QuantizedTensor
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.types import CODE_TYPES, DType, QuantizedType, TensorType
from graphwright.ir.weights import Applied, WeightExpression

if TYPE_CHECKING:
    from torch import Tensor

_SCALES: dict[DType, Literal["float16", "bfloat16", "float32"]] = {
    DType.F16: "float16",
    DType.BF16: "bfloat16",
    DType.F32: "float32",
}
_STORED_SCALES = {name: dtype for dtype, name in _SCALES.items()}


LANES = 16
"""Rows of the matrix side by side in a step."""

STEP_BYTES = 4 * LANES


def packable(type: QuantizedType) -> str | None:
    """Why no kernel reads a weight of that type in its codes; None where they do."""
    if type.rank not in (2, 3) or type.axis != -1 or any(length.constant is None for length in type.shape):
        return f"{type} is not a matrix grouped along its rows"
    if type.rank == 3 and type.shape[1].evaluate({}) % LANES:
        return f"the matrices of {type} are not made of blocks of {LANES} rows"
    if type.element.is_float and type.element is not DType.F4E2M1:
        return f"no kernel reads codes of {type.element}"
    step = codes_in_a_step(type)
    if type.group is not None and type.group % step:
        return f"groups of {type.group} are not made of steps of {step} codes"
    return None


def code_bits(type: QuantizedType) -> int:
    """How many bits a code has where a kernel reads it."""
    return 4 if type.element.is_integer and type.element.bits <= 4 else 8


def codes_in_a_step(type: QuantizedType) -> int:
    """Codes of a row that a kernel reads at once: 32 bits."""
    return 32 // code_bits(type)


@dataclass(frozen=True)
class PackedWeight:
    """A matrix [outer, inner] in codes of 4 or 8 bits, one scale for each `group` codes of a row (0: for all of it).

    Codes are unsigned: what they stand for is (code - zero point) * scale + minimum, where without zero points
    `origin` is zero. In memory:

        codes        u8[blocks, steps, 64]
        scales       u8[blocks, groups, 16 * bytes of a scale], which are floats of the type `scale`
        zero points  u8[blocks, groups, 16]
        minimums     as the scales

    Rows and columns that the matrix lacks have codes, scales, zero points and minimums of 0.
    """

    outer: int
    inner: int
    bits: int
    group: int
    scale: Literal["float16", "bfloat16", "float32"]
    zero_points: bool
    minimums: bool = False

    def __post_init__(self) -> None:
        if self.bits not in (4, 8) or self.group % self.step:
            raise ValueError(f"no kernel reads codes of {self.bits} bits in groups of {self.group}")

    @property
    def step(self) -> int:
        """Codes of one row in a step."""
        return 32 // self.bits

    @property
    def blocks(self) -> int:
        """Sixteens of rows; the last may be cut short."""
        return -(-self.outer // LANES)

    @property
    def steps(self) -> int:
        """Steps of a block; the last may be cut short."""
        return -(-self.inner // self.step)

    @property
    def groups(self) -> int:
        """Scales of a row."""
        return -(-self.inner // self.group) if self.group else 1

    @property
    def origin(self) -> int:
        """The code that codes count from: the middle of their range, and 0 above a minimum."""
        return 0 if self.minimums else 1 << (self.bits - 1)

    @property
    def has_offsets(self) -> bool:
        """Whether products need the sum of a group's activations beside the products with codes."""
        return self.zero_points or self.minimums

    @property
    def codes_shape(self) -> tuple[int, int, int]:
        return (self.blocks, self.steps, STEP_BYTES)

    @property
    def scales_shape(self) -> tuple[int, int, int]:
        return (self.blocks, self.groups, LANES * (4 if self.scale == "float32" else 2))

    @property
    def zero_points_shape(self) -> tuple[int, int, int]:
        return (self.blocks, self.groups, LANES)


@dataclass(frozen=True)
class PackedParts:
    """The layout of a packed matrix, and its arrays by their names, in the order in which kernels take them."""

    layout: PackedWeight
    arrays: dict[str, WeightExpression]


def packed_layout(type: QuantizedType) -> PackedWeight:
    """The layout of a weight of that type. Raises `IRTypeError` where `packable` says why."""
    reason = packable(type)
    if reason is not None:
        raise IRTypeError(reason)
    outer, inner = (length.evaluate({}) for length in (product(type.shape[:-1]), type.shape[-1]))
    scale = _SCALES[stored_type(type).scale_dtype]
    return PackedWeight(
        outer, inner, code_bits(type), type.group or 0, scale, "zero_points" in type.parts, type.minimum
    )


def stored_type(type: QuantizedType) -> QuantizedType:
    """The type of what a packed matrix of that type stands for: the same numbers, maybe of other codes and scales."""
    # Halves of f4e2m1 are whole numbers of units of half a scale; and scales that are multiplied do not fit 16 bits.
    plain = type.element is not DType.F4E2M1 and not type.tensor_scale
    return replace(
        type,
        element=DType.I8 if type.element is DType.F4E2M1 else type.element,
        scale_dtype=type.scale_dtype if plain and type.scale_dtype in _SCALES else DType.F32,
        tensor_scale=False,
    )


def packed_parts(weight: WeightExpression) -> PackedParts:
    """A quantized matrix as the arrays that kernels read."""
    assert isinstance(weight.type, QuantizedType)
    arrays = {name: Applied.of(PACKED[name], (weight,), {}) for name in PACKED if name in weight.type.parts}
    return PackedParts(packed_layout(weight.type), dict(arrays))


@op("cpu.packed_codes")
def packed_codes(weight: QuantizedType) -> TensorType:
    """The codes of a matrix, u8[blocks, steps, 64]."""
    return _bytes(packed_layout(weight).codes_shape)


@packed_codes.reference
def packed_codes_reference(weight: QuantizedTensor) -> Tensor:
    layout = packed_layout(weight.type)
    codes = weight.codes
    if weight.type.element is DType.F4E2M1:
        codes = torch.tensor([int(2 * v) for v in F4E2M1_VALUES], dtype=torch.int8)[codes.long()]
    # Of bytes, so that adding to signed codes wraps around where it has to.
    stored = codes.view(torch.uint8).flatten(0, -2)
    if weight.type.symmetric:
        stored = stored + layout.origin
    inner = layout.steps * layout.step - layout.inner
    padded = torch.nn.functional.pad(stored, (0, inner, 0, layout.blocks * LANES - layout.outer))
    quads = padded.reshape(layout.blocks, LANES, layout.steps, layout.step // 4, 4).permute(3, 0, 2, 1, 4)
    packed = quads[0] if layout.bits == 8 else quads[0] | quads[1] << 4
    return packed.reshape(layout.codes_shape).contiguous()


@op("cpu.packed_scales")
def packed_scales(weight: QuantizedType) -> TensorType:
    """The scales of a matrix as bytes, u8[blocks, groups, 16 * bytes of a scale]."""
    return _bytes(packed_layout(weight).scales_shape)


@packed_scales.reference
def packed_scales_reference(weight: QuantizedTensor) -> Tensor:
    layout = packed_layout(weight.type)
    scales = weight.scales
    if weight.tensor_scale is not None:
        scales = scales.float() * weight.tensor_scale.float()
    if weight.type.element is DType.F4E2M1:
        scales = scales.float() / 2
    return _lanes_last(scales.to(torch_dtype(_STORED_SCALES[layout.scale])), layout).view(torch.uint8)


@op("cpu.packed_zero_points")
def packed_zero_points(weight: QuantizedType) -> TensorType:
    """The zero points of a matrix, u8[blocks, groups, 16]."""
    quantized_zero_points.rule(weight)
    return _bytes(packed_layout(weight).zero_points_shape)


@packed_zero_points.reference
def packed_zero_points_reference(weight: QuantizedTensor) -> Tensor:
    assert weight.zero_points is not None
    return _lanes_last(weight.zero_points.view(torch.uint8), packed_layout(weight.type))


@op("cpu.packed_minimums")
def packed_minimums(weight: QuantizedType) -> TensorType:
    """The minimums of a matrix as bytes, as `packed_scales` gives its scales."""
    quantized_minimums.rule(weight)
    return _bytes(packed_layout(weight).scales_shape)


@packed_minimums.reference
def packed_minimums_reference(weight: QuantizedTensor) -> Tensor:
    assert weight.minimums is not None
    layout = packed_layout(weight.type)
    return _lanes_last(weight.minimums.to(torch_dtype(_STORED_SCALES[layout.scale])), layout).view(torch.uint8)


PACKED = {
    "codes": packed_codes,
    "scales": packed_scales,
    "zero_points": packed_zero_points,
    "minimums": packed_minimums,
}
"""How each part of a matrix is packed."""


def _lanes_last(numbers: Tensor, layout: PackedWeight) -> Tensor:
    """Numbers [outer, groups], or of a stack, as [blocks, groups, 16], zeros for rows that the matrix lacks."""
    padded = torch.nn.functional.pad(numbers.flatten(0, -2), (0, 0, 0, layout.blocks * LANES - layout.outer))
    return padded.reshape(layout.blocks, LANES, layout.groups).transpose(1, 2).contiguous()


def unpacked(type: QuantizedType, arrays: Mapping[str, WeightExpression]) -> WeightExpression:
    """The matrix, or the stack of them, whose packed arrays these are, of the `stored_type` of its type."""
    stored = stored_type(type)
    outer, inner = (length.evaluate({}) for length in (product(type.shape[:-1]), type.shape[-1]))
    made = {
        "codes": (unpacked_codes, {"to": stored.element, "outer": outer, "inner": inner}),
        "scales": (unpacked_scales, {"to": stored.scale_dtype, "outer": outer}),
        "zero_points": (unpacked_zero_points, {"to": stored.element, "outer": outer}),
        "minimums": (unpacked_scales, {"to": stored.scale_dtype, "outer": outer}),
    }

    def part(name: str) -> WeightExpression:
        definition, attributes = made[name]
        matrix = Applied.of(definition, (arrays[name],), attributes)
        shape = stored.parts[name].shape
        return matrix if type.rank == 2 else Applied.of(reshape, (matrix,), {"shape": shape})

    parts = [part(each.name) if each.name in stored.parts else None for each in quantized.operands]
    return Applied.of(quantized, tuple(parts), {"group": type.group or 0})


@op("cpu.unpacked_codes")
def unpacked_codes(packed: TensorType, *, to: DType, outer: int, inner: int) -> TensorType:
    """The codes [outer, inner] of a matrix whose `packed_codes` these are."""
    if to not in CODE_TYPES or to.is_float:
        raise IRTypeError(f"there are no packed codes of {to}")
    layout = PackedWeight(outer, inner, 4 if to.bits <= 4 else 8, 0, "float32", zero_points=False)
    if packed != _bytes(layout.codes_shape):
        raise IRTypeError(f"codes are {packed}, expected {_bytes(layout.codes_shape)}")
    return TensorType(to, (Dim.of(outer), Dim.of(inner)))


@unpacked_codes.reference
def unpacked_codes_reference(packed: Tensor, *, to: DType, outer: int, inner: int) -> Tensor:
    halves = (packed & 15, packed >> 4) if to.bits <= 4 else (packed,)
    blocks, steps, _ = packed.shape
    quads = torch.stack(halves).reshape(len(halves), blocks, steps, LANES, 4).permute(1, 3, 2, 0, 4)
    codes = quads.reshape(blocks * LANES, -1)[:outer, :inner]
    if to.value[0] == "u":
        return codes.contiguous()
    # Of bytes, so that what is below zero wraps around.
    return (codes - (8 if to.bits <= 4 else 128)).view(torch.int8)


@op("cpu.unpacked_scales")
def unpacked_scales(packed: TensorType, *, to: DType, outer: int) -> TensorType:
    """The scales [outer, groups] of a matrix whose `packed_scales` these are, or the minimums, which lie like them."""
    if to not in _SCALES:
        raise IRTypeError(f"there are no packed scales of {to}")
    return _unpacked(packed, to, LANES * to.bits // 8, outer)


@unpacked_scales.reference
def unpacked_scales_reference(packed: Tensor, *, to: DType, outer: int) -> Tensor:
    return _rows_first(packed.view(torch_dtype(to)), outer)


@op("cpu.unpacked_zero_points")
def unpacked_zero_points(packed: TensorType, *, to: DType, outer: int) -> TensorType:
    """The zero points [outer, groups] of a matrix whose `packed_zero_points` these are."""
    if to not in CODE_TYPES or to.value[0] != "u":
        raise IRTypeError(f"there are no zero points of {to}")
    return _unpacked(packed, to, LANES, outer)


@unpacked_zero_points.reference
def unpacked_zero_points_reference(packed: Tensor, *, to: DType, outer: int) -> Tensor:
    return _rows_first(packed, outer)


@packed_codes.cost
@packed_scales.cost
@packed_zero_points.cost
@packed_minimums.cost
@unpacked_codes.cost
@unpacked_scales.cost
@unpacked_zero_points.cost
def moved_cost(op: Op) -> Cost:
    """One operation an element of the result."""
    return default_cost(op, op.result.type.elements)


OF_WEIGHTS = frozenset({*PACKED.values(), unpacked_codes, unpacked_scales, unpacked_zero_points})
"""Ops of this dialect that stand in expressions of weights, not in graphs."""


def _unpacked(packed: TensorType, to: DType, bytes_of_lanes: int, outer: int) -> TensorType:
    """The type [outer, groups] of what lies in the lanes of bytes [blocks, groups, bytes_of_lanes]."""
    blocks, lanes = Dim.of(-(-outer // LANES)), Dim.of(bytes_of_lanes)
    if packed.dtype is not DType.U8 or packed.rank != 3 or (packed.shape[0], packed.shape[2]) != (blocks, lanes):
        raise IRTypeError(f"packed is {packed}, expected u8[{blocks}, groups, {lanes}]")
    return TensorType(to, (Dim.of(outer), packed.shape[1]))


def _rows_first(numbers: Tensor, outer: int) -> Tensor:
    """Numbers [blocks, groups, 16] as [outer, groups]."""
    return numbers.transpose(1, 2).reshape(-1, numbers.shape[1])[:outer].contiguous()


def _bytes(shape: tuple[int, ...]) -> TensorType:
    return TensorType(DType.U8, tuple(map(Dim.of, shape)))
