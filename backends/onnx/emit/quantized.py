"""Emission of products with quantized weights, of rows of quantized tables, and of rounding."""

from graphwright.backends.onnx.element_types import ONNX_TYPES
from graphwright.backends.onnx.emit.emitter import MICROSOFT, Emission, Emitter
from graphwright.ir import ops
from graphwright.ir.declare import OpDef
from graphwright.ir.dialects.ort.quantized import (
    dequantize_linear,
    gather_block_quantized,
    gather_blocks,
    matmul_integer,
    matmul_nbits,
    round_rows,
)
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.rounding import Grid
from graphwright.ir.types import DType

ROUNDED_LEVEL, FLOAT_LEVEL = 4, 1
"""Values of `accuracy_level`: x as int8 with a scale a block, and x as float32."""


def emit_matmul_nbits(e: Emitter, op: Op) -> None:
    x, codes, scales, zero_points, bias = e.operands(op)
    e.results(
        op,
        "MatMulNBits",
        x,
        codes,
        scales,
        zero_points,
        "",  # indices of reordered groups
        bias,
        domain=MICROSOFT,
        K=op.inputs[0].type.shape[-1].evaluate({}),
        N=op.result.type.shape[-1].evaluate({}),
        bits=op.attribute("bits", int),
        block_size=op.attribute("block", int),
        accuracy_level=ROUNDED_LEVEL if op.attribute("rounded", bool) else FLOAT_LEVEL,
    )


def emit_gather_block_quantized(e: Emitter, op: Op) -> None:
    bits, block = op.attribute("bits", int), op.attribute("block", int)
    attributes = {"bits": bits, "block_size": block, "gather_axis": 0, "quantize_axis": 1}
    e.results(op, "GatherBlockQuantized", *e.operands(op), domain=MICROSOFT, **attributes)


def emit_gather_blocks(e: Emitter, op: Op) -> None:
    codes, indices, scales, zero_points = e.operands(op)
    bits, block = op.attribute("bits", int), op.attribute("block", int)
    blocks = op.required("scales").type.shape[1].evaluate({})

    def rows(packed: str, count: int) -> str:
        """The codes of the chosen rows as f32 [..., count]."""
        taken = e.node("Gather", packed, indices)
        if bits < 8:
            shifts = e.constant(torch.arange(0, 8, bits, dtype=torch.uint8), "shifts")
            parts = e.node("BitShift", e.node("Unsqueeze", taken, e.integers(-1)), shifts, direction="RIGHT")
            ones = e.constant(torch.tensor((1 << bits) - 1, dtype=torch.uint8), "ones")
            merged = e.node("Reshape", e.node("BitwiseAnd", parts, ones), e.shape([*leading, -1]))
            bounds = (e.integers(0), e.integers(count), e.integers(-1))
            taken = e.node("Slice", merged, *bounds)
        return e.node("Cast", taken, to=ONNX_TYPES[DType.F32])

    leading = [0] * op.required("indices").type.rank
    numbers = e.node("Reshape", rows(codes, blocks * block), e.shape([*leading, blocks, block]))
    zero = e.filled(float(1 << (bits - 1)), DType.F32)
    if zero_points:
        zero = e.node("Unsqueeze", rows(zero_points, blocks), e.integers(-1))
    scale = e.node("Unsqueeze", e.node("Gather", scales, indices), e.integers(-1))
    values = e.node("Mul", e.node("Sub", numbers, zero), scale)
    e.results(op, "Reshape", values, e.shape([*leading, blocks * block]))


def emit_dequantize_linear(e: Emitter, op: Op) -> None:
    e.results(op, "DequantizeLinear", *e.operands(op), axis=0, block_size=op.attribute("block", int))


def _scales(e: Emitter, x: str, most: float, dtype: DType) -> str:
    """The largest magnitude along the last axis over `most`, and 1 for zeros."""
    largest = e.node("ReduceMax", e.node("Abs", x), e.integers(-1), keepdims=1)
    scales = e.node("Div", largest, e.filled(most, dtype))
    none = e.node("Equal", scales, e.filled(0.0, dtype))
    return e.node("Where", none, e.filled(1.0, dtype), scales)


def emit_round_rows(e: Emitter, op: Op) -> None:
    (x,), (codes, scales) = e.operands(op), (e.name(v) for v in op.results)
    e.outputs("Identity", [_scales(e, x, 127.0, DType.F32)], [scales])
    units = e.node("Round", e.node("Div", x, scales))
    e.outputs("Cast", [e.node("Add", units, e.filled(128.0, DType.F32))], [codes], to=ONNX_TYPES[DType.U8])


def emit_matmul_integer(e: Emitter, op: Op) -> None:
    x, x_scales, weight, weight_scales, zero_points = e.operands(op)
    # Both unsigned: of other pairs some processors add two products in 16 bits and cut off what does not fit.
    middle = e.constant(torch.tensor(128, dtype=torch.uint8), "middle")
    product = e.node("MatMulInteger", x, weight, middle, zero_points or middle)
    scaled = e.node("Mul", e.node("Cast", product, to=ONNX_TYPES[DType.F32]), x_scales)
    e.results(op, "Mul", scaled, weight_scales)


def emit_fake_quantize(e: Emitter, op: Op) -> None:
    (x, given), group = e.operands(op), op.attribute("group", int)
    to, dtype, shape = op.attribute("to", DType), op.inputs[0].tensor.dtype, op.inputs[0].type.shape
    leading, numbers, missing = [0] * (len(shape) - 1), x, 0
    if group:
        inner = shape[-1].evaluate({})
        missing = -inner % group
        if missing:
            pads = e.integers(*leading, 0, *leading, missing)
            numbers = e.node("Pad", numbers, pads, e.filled(0.0, dtype))
        numbers = e.node("Reshape", numbers, e.shape([*leading, (inner + missing) // group, group]))
    scales = given or _scales(e, numbers, Grid(to).most, dtype)
    units = e.node("Div", numbers, scales)
    if given:
        units = e.node("Clip", units, e.filled(Grid(to).least, dtype), e.filled(Grid(to).most, dtype))
    if to.is_integer:
        rounded = e.node("Round", units)
    else:
        rounded = e.node("Cast", e.node("Cast", units, to=ONNX_TYPES[to]), to=ONNX_TYPES[dtype])
    if not group:
        e.results(op, "Mul", rounded, scales)
        return
    values = e.node("Reshape", e.node("Mul", rounded, scales), e.shape([*leading, -1]))
    if missing:
        e.results(op, "Slice", values, e.integers(0), e.dim(shape[-1]), e.integers(-1))
    else:
        e.results(op, "Identity", values)


EMISSIONS: dict[OpDef, Emission] = {
    matmul_nbits: emit_matmul_nbits,
    gather_block_quantized: emit_gather_block_quantized,
    gather_blocks: emit_gather_blocks,
    dequantize_linear: emit_dequantize_linear,
    round_rows: emit_round_rows,
    matmul_integer: emit_matmul_integer,
    ops.fake_quantize: emit_fake_quantize,
}
