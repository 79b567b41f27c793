"""Emission of codes: rounded, packed and read again, in arithmetic that every runtime has.

QuantizeLinear knows scales along one axis only, and divides by them, which decides ties otherwise than
GroupQueryAttention does.
"""

from graphwright.backends.onnx.element_types import ONNX_TYPES
from graphwright.backends.onnx.emit.emitter import Emission, Emitter
from graphwright.ir import ops
from graphwright.ir.declare import OpDef
from graphwright.ir.dialects.ort.packed_caches import dequantize_packed, quantize_packed
from graphwright.ir.dialects.packed_codes import OFFSET
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.rounding import Grid
from graphwright.ir.types import DType


def _rounded(e: Emitter, op: Op, codes: DType) -> str:
    """The codes as float32."""
    x, scale = e.operands(op)
    units = e.node("Mul", x, e.node("Reciprocal", scale))
    grid = Grid(codes)
    bounds = [e.filled(bound, DType.F32) for bound in (grid.least, grid.most)]
    return e.node("Clip", e.node("Round", units), *bounds)


def emit_quantize_tensor(e: Emitter, op: Op) -> None:
    dtype = op.result.tensor.dtype
    e.results(op, "Cast", _rounded(e, op, dtype), to=ONNX_TYPES[dtype])


def emit_dequantize_tensor(e: Emitter, op: Op) -> None:
    codes, scale = e.operands(op)
    _scaled(e, op, e.node("Cast", codes, to=ONNX_TYPES[DType.F32]), scale)


def _scaled(e: Emitter, op: Op, codes: str, scale: str) -> None:
    """float32 codes times their scale, rounded to the result's type."""
    dtype = op.result.tensor.dtype
    if dtype is DType.F32:
        e.results(op, "Mul", codes, scale)
    else:
        e.results(op, "Cast", e.node("Mul", codes, scale), to=ONNX_TYPES[dtype])


def emit_quantize_packed(e: Emitter, op: Op) -> None:
    x = op.required("x").type
    half = op.result.type.shape[-1].evaluate({})
    pairs = e.node("Reshape", _rounded(e, op, DType.I4), e.integers(*[0] * (x.rank - 1), half, 2))
    # lower + 16 upper, each with the offset: small integers, which float32 holds exactly.
    weighted = e.node("Mul", pairs, e.constant(torch.tensor([1.0, 16.0]), "halves"))
    total = e.node("ReduceSum", weighted, e.integers(-1), keepdims=0)
    e.results(op, "Cast", e.node("Add", total, e.filled(17 * OFFSET, DType.F32)), to=ONNX_TYPES[DType.U8])


def emit_dequantize_packed(e: Emitter, op: Op) -> None:
    packed, scale = e.operands(op)
    lower = e.node("BitwiseAnd", packed, e.filled(15, DType.U8))
    upper = e.node("BitShift", packed, e.filled(4, DType.U8), direction="RIGHT")
    last = e.integers(-1)
    pairs = e.node("Concat", e.node("Unsqueeze", lower, last), e.node("Unsqueeze", upper, last), axis=-1)
    size = op.result.type.shape[-1].evaluate({})
    codes = e.node("Reshape", pairs, e.integers(*[0] * (op.result.type.rank - 1), size))
    numbers = e.node("Sub", e.node("Cast", codes, to=ONNX_TYPES[DType.F32]), e.filled(OFFSET, DType.F32))
    _scaled(e, op, numbers, scale)


EMISSIONS: dict[OpDef, Emission] = {
    ops.quantize_tensor: emit_quantize_tensor,
    ops.dequantize_tensor: emit_dequantize_tensor,
    quantize_packed: emit_quantize_packed,
    dequantize_packed: emit_dequantize_packed,
}
