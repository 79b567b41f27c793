"""The operators that multiply and look up quantized weights, as ops like those in `operators`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.cost import Cost, default_cost, picked
from graphwright.ir.declare import op
from graphwright.ir.dialects.ort.block_layout import block_count, unblocked
from graphwright.ir.dims import Dim
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.matrix import linear
from graphwright.ir.ops.quantization import fake_quantize
from graphwright.ir.ops.rules import last, require_equal, require_float, require_indices, require_rank
from graphwright.ir.types import DType, TensorType

if TYPE_CHECKING:
    from torch import Tensor


def _require_blocks(
    codes: TensorType,
    scales: TensorType,
    zero_points: TensorType | None,
    bits: int,
    block: int,
    dtype: DType = DType.F32,
) -> None:
    """Codes u8 [n, ...] of `bits`, in blocks with a scale [n, blocks], f32 or `dtype`, and maybe a packed zero point
    each."""
    require_rank("scales", scales, 2)
    rows, blocks = scales.shape
    if bits not in (2, 4, 8) or block < 1:
        raise IRTypeError(f"blocks of {block} codes of {bits} bits")
    if scales.dtype not in (DType.F32, dtype) or blocks.constant is None:
        raise IRTypeError(f"scales are {scales}")
    bytes = block * bits // 8
    layouts = [(rows, blocks, Dim.of(bytes)), (rows, blocks * bytes)]
    if codes.dtype is not DType.U8 or codes.shape not in layouts:
        raise IRTypeError(f"codes are {codes}, scales {scales}")
    points = TensorType(DType.U8, (rows, Dim.of(-(-blocks.constant * bits // 8))))
    if zero_points is not None and zero_points != points:
        raise IRTypeError(f"zero_points are {zero_points}, expected {points}")


@op("ort.matmul_nbits")
def matmul_nbits(
    x: TensorType,
    codes: TensorType,
    scales: TensorType,
    zero_points: TensorType | None = None,
    bias: TensorType | None = None,
    *,
    bits: int,
    block: int,
    rounded: bool = False,
) -> TensorType:
    """x [..., k] times a weight [n, k] of packed codes transposed, plus bias [n].

    codes are u8 [n, blocks, block * bits / 8], scales f32 or of x's type [n, blocks], zero_points u8 [n, bytes], codes
    of `bits` too; without them zero is 2^(bits - 1). With `rounded` x is first rounded by `fake_quantize` to i8 in
    groups of a block.
    """
    require_float("x", x)
    require_rank("codes", codes, 3)
    _require_blocks(codes, scales, zero_points, bits, block, x.dtype)
    inner = last("x", x).constant
    if inner is None or block_count(inner, block) != scales.shape[1].constant:
        raise IRTypeError(f"x is {x}, which {scales.shape[1]} blocks of {block} do not fit")
    if bias is not None:
        require_rank("bias", bias, 1)
        require_equal("bias and rows of codes", bias.shape[0], codes.shape[0])
    return TensorType(x.dtype, (*x.shape[:-1], codes.shape[0]))


@matmul_nbits.reference
def matmul_nbits_reference(
    x: Tensor,
    codes: Tensor,
    scales: Tensor,
    zero_points: Tensor | None,
    bias: Tensor | None,
    *,
    bits: int,
    block: int,
    rounded: bool,
) -> Tensor:
    if rounded:
        x = fake_quantize.evaluate([x], {"to": DType.I8, "group": block})
    weight = unblocked(codes, scales, zero_points, bits, block)
    return linear.evaluate([x, weight[:, : x.shape[-1]], bias], {})


@matmul_nbits.cost
def matmul_nbits_cost(op: Op) -> Cost:
    return default_cost(op, op.results[0].type.elements * op.inputs[0].type.shape[-1] * 2)


def _gathered(
    codes: TensorType, indices: TensorType, scales: TensorType, zero_points: TensorType | None, bits: int, block: int
) -> TensorType:
    require_rank("codes", codes, 2)
    _require_blocks(codes, scales, zero_points, bits, block)
    require_indices("indices", indices)
    return TensorType(DType.F32, (*indices.shape, scales.shape[1] * block))


@op("ort.gather_block_quantized")
def gather_block_quantized(
    codes: TensorType,
    indices: TensorType,
    scales: TensorType,
    zero_points: TensorType | None = None,
    *,
    bits: int,
    block: int,
) -> TensorType:
    """Rows of a table [n, blocks * block] of packed codes at i64 indices, as f32 numbers.

    The parts are those of `matmul_nbits`, but codes are u8 [n, blocks * block * bits / 8].
    """
    return _gathered(codes, indices, scales, zero_points, bits, block)


@op("onnx.gather_blocks")
def gather_blocks(
    codes: TensorType,
    indices: TensorType,
    scales: TensorType,
    zero_points: TensorType | None = None,
    *,
    bits: int,
    block: int,
) -> TensorType:
    """`gather_block_quantized` in standard operators: packed rows are gathered, then unpacked."""
    return _gathered(codes, indices, scales, zero_points, bits, block)


@gather_block_quantized.reference
@gather_blocks.reference
def gather_block_quantized_reference(
    codes: Tensor, indices: Tensor, scales: Tensor, zero_points: Tensor | None, *, bits: int, block: int
) -> Tensor:
    rows = indices.flatten().long()
    points = None if zero_points is None else zero_points[rows]
    numbers = unblocked(codes[rows], scales[rows], points, bits, block)
    return numbers.reshape(*indices.shape, numbers.shape[-1])


@gather_block_quantized.cost
@gather_blocks.cost
def gather_block_quantized_cost(op: Op) -> Cost:
    indices = op.required("indices").type
    tables = {n: v for n in ("codes", "scales", "zero_points") if (v := op.operand(n)) is not None}
    reads = {name: picked(value.tensor, indices.elements) for name, value in tables.items()}
    return default_cost(op, op.result.type.elements * 2, reads=reads)


@op("onnx.dequantize_linear")
def dequantize_linear(
    codes: TensorType, scales: TensorType, zero_points: TensorType | None = None, *, block: int
) -> TensorType:
    """Numbers [k, n] of codes [k, n] of an integer type, `block` of them along the first axis with one scale.

    scales are f32 [blocks, n], zero_points of the type of the codes; without them zero is 0.
    """
    require_rank("codes", codes, 2)
    inner = codes.shape[0].constant
    if not codes.dtype.is_integer or inner is None or block < 1:
        raise IRTypeError(f"codes are {codes} in blocks of {block}")
    expected = TensorType(DType.F32, (Dim.of(block_count(inner, block)), codes.shape[1]))
    if scales != expected:
        raise IRTypeError(f"scales are {scales}, expected {expected}")
    if zero_points is not None and zero_points != expected.with_dtype(codes.dtype):
        raise IRTypeError(f"zero_points are {zero_points}, expected {expected.with_dtype(codes.dtype)}")
    return TensorType(DType.F32, codes.shape)


@dequantize_linear.reference
def dequantize_linear_reference(codes: Tensor, scales: Tensor, zero_points: Tensor | None, *, block: int) -> Tensor:
    def spread(x: Tensor) -> Tensor:
        return x.repeat_interleave(block, 0)[: codes.shape[0]].to(scales.dtype)

    numbers = codes.to(scales.dtype)
    return (numbers if zero_points is None else numbers - spread(zero_points)) * spread(scales)


@dequantize_linear.cost
def dequantize_linear_cost(op: Op) -> Cost:
    return default_cost(op, op.result.type.elements * (1 if op.operand("zero_points") is None else 2))


@op("onnx.round_rows")
def round_rows(x: TensorType) -> tuple[TensorType, TensorType]:
    """x [..., k] rounded as by `fake_quantize` to i8, a scale a row: codes plus 128 as u8, and scales f32 [..., 1]."""
    require_float("x", x)
    last("x", x)
    return x.with_dtype(DType.U8), TensorType(DType.F32, (*x.shape[:-1], Dim.of(1)))


@round_rows.reference
def round_rows_reference(x: Tensor) -> tuple[Tensor, Tensor]:
    scales = x.abs().amax(-1, keepdim=True) / 127
    scales = torch.where(scales == 0, torch.ones_like(scales), scales)
    return (x / scales).round().clamp(-128, 127) + 128, scales


@round_rows.cost
def round_rows_cost(op: Op) -> Cost:
    return default_cost(op, op.inputs[0].type.elements * 4)


@op("onnx.matmul_integer")
def matmul_integer(
    x: TensorType,
    x_scales: TensorType,
    weight: TensorType,
    weight_scales: TensorType,
    zero_points: TensorType | None = None,
) -> TensorType:
    """Rounded rows x u8 [..., k], of which 128 means zero, times codes u8 [k, n], by both scales: f32 [..., n].

    x_scales are f32 [..., 1], weight_scales f32 [n], zero_points u8 [n]; without them zero is 128.
    """
    require_rank("weight", weight, 2)
    require_equal("last axis of x and first of weight", last("x", x), weight.shape[0])
    rows, columns = (*x.shape[:-1], Dim.of(1)), (weight.shape[1],)
    if x.dtype is not DType.U8 or weight.dtype is not DType.U8:
        raise IRTypeError(f"x is {x} and weight {weight}, expected u8")
    if x_scales != TensorType(DType.F32, rows) or weight_scales != TensorType(DType.F32, columns):
        raise IRTypeError(f"scales of x are {x_scales}, those of the weight {weight_scales}")
    if zero_points is not None and zero_points != TensorType(DType.U8, columns):
        raise IRTypeError(f"zero_points are {zero_points}")
    return TensorType(DType.F32, (*x.shape[:-1], weight.shape[1]))


@matmul_integer.reference
def matmul_integer_reference(
    x: Tensor, x_scales: Tensor, weight: Tensor, weight_scales: Tensor, zero_points: Tensor | None
) -> Tensor:
    # Sums of products of bytes are exact in doubles.
    zero = 128 if zero_points is None else zero_points.double()
    product = (x.double() - 128) @ (weight.double() - zero)
    return product.to(x_scales.dtype) * x_scales * weight_scales


@matmul_integer.cost
def matmul_integer_cost(op: Op) -> Cost:
    return default_cost(op, op.result.type.elements * op.inputs[0].type.shape[-1] * 2)
