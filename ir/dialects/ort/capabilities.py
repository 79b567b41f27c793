"""What ONNX Runtime takes on the CPU, and any runtime of the standard: every op that has an emission, on which element
types, under which conditions.

`PORTABLE` is the standard operator set, version 24. `ORT` adds the contrib operators that ONNX Runtime has CPU kernels
for. Element types are those with a CPU kernel in ONNX Runtime 1.32, which the tests probe row by row.
"""

from graphwright.ir import ops
from graphwright.ir.declare import OpDef
from graphwright.ir.dialects.ort import operators, packed_caches, quantized, recurrence
from graphwright.ir.dialects.ort.conditions import (
    BF16,
    BOOL,
    CODES,
    F16,
    F32,
    F64,
    I64,
    NUMBER,
    STORED,
    chosen_numbers,
    contiguous_cache,
    known_blocks,
    known_codes,
    known_rounding,
    known_rows,
    known_scale,
    known_target,
    known_units,
    masked_scores,
    no_padding,
    real_tokens,
)
from graphwright.ir.dialects.ort.experts import chosen_experts
from graphwright.ir.dialects.ort.group_query import group_query_attention
from graphwright.ir.targets import Capability, Condition, Target
from graphwright.ir.types import DType

OPSET = 24

FLOAT = frozenset({F32})
REAL = frozenset({F32, F64})


def rows(
    dtypes: frozenset[DType], *definitions: OpDef, condition: Condition | None = None, since: tuple[int, ...] = ()
) -> list[Capability]:
    """A row for each of these ops."""
    return [Capability(d, dtypes, condition, since=since) for d in definitions]


STANDARD: tuple[Capability, ...] = (
    # Moving elements.
    *rows(STORED - {BF16}, ops.constant, ops.expand),
    *rows(STORED, ops.reshape, ops.transpose, ops.slice, ops.concat, ops.split),
    *rows(STORED, ops.split_heads, ops.merge_heads, ops.gather, ops.gather_elements, ops.embedding, ops.take_tokens),
    *rows(FLOAT | {F64, I64}, ops.scatter_elements),
    *rows(NUMBER, ops.topk),
    *rows(STORED, ops.kv_append, condition=contiguous_cache),
    *rows(STORED, ops.kv_read, operators.as_cache, operators.gather_ring),
    # Codes.
    *rows(FLOAT, ops.quantize_tensor, condition=known_codes),
    *rows(CODES, ops.dequantize_tensor, condition=known_codes),
    *rows(FLOAT, packed_caches.quantize_packed, condition=known_scale),
    *rows(frozenset({DType.U8}), packed_caches.dequantize_packed, condition=known_scale),
    *rows(STORED, ops.cast, condition=known_target),
    # Logic and choice.
    *rows(frozenset({BOOL}), ops.logical_and, ops.logical_or, ops.logical_not, ops.any, ops.all),
    *rows(frozenset({BOOL}), ops.where, condition=chosen_numbers),
    # Arithmetic.
    *rows(NUMBER, ops.iota, ops.sub, ops.div, ops.remainder, ops.neg, ops.abs),
    *rows(frozenset({I64}), ops.dim_value),
    *rows(NUMBER | {BOOL}, ops.add, ops.mul, ops.maximum, ops.minimum, ops.eq, ops.ne),
    *rows(NUMBER | {BOOL}, ops.sum, ops.cumsum, ops.amax, ops.amin),
    *rows(NUMBER, ops.pow, ops.lt, ops.le, ops.gt, ops.ge),
    *rows(
        REAL, ops.exp, ops.log, ops.log1p, ops.sqrt, ops.rsqrt, ops.reciprocal, ops.sin, ops.cos, ops.tanh, ops.sigmoid
    ),
    *rows(REAL, ops.floor, ops.mean, ops.var, ops.softmax, ops.matmul, ops.linear),
    *rows(REAL, ops.softcap),
    *rows(FLOAT, ops.erf, ops.activation, ops.glu, ops.convolution, ops.moe_experts),
    # Norms state their epsilon in float32, too coarse for float64.
    *rows(FLOAT | {F16}, ops.rms_norm, ops.layer_norm),
    # Recurrences.
    *rows(FLOAT, ops.causal_conv, ops.linear_recurrence, ops.weighted_mean),
    *rows(NUMBER, ops.running_sum),
    # Quantized weights and rounded activations. Integers are the types of codes.
    *rows(FLOAT, ops.fake_quantize, condition=known_rounding),
    *rows(FLOAT, quantized.round_rows),
    *rows(frozenset({DType.U8}), quantized.matmul_integer),
    *rows(frozenset({DType.U8}), quantized.gather_blocks),
    *rows(frozenset({DType.I4, DType.U4, DType.I8, DType.U8}), quantized.dequantize_linear),
    # Single operators that stand for several ops.
    *rows(FLOAT | {F16}, operators.rotary_embedding),
    *rows(FLOAT | {F16}, operators.masked_attention, condition=masked_scores),
)

CONTRIB: tuple[Capability, ...] = (
    *rows(REAL, operators.fused_matmul),
    *rows(FLOAT | {F16}, operators.skip_rms_norm, operators.skip_layer_norm, condition=known_rows),
    *rows(FLOAT | {F16}, group_query_attention, condition=no_padding),
    *rows(FLOAT | {F16}, group_query_attention, condition=real_tokens, since=(1, 32)),
    *rows(FLOAT, recurrence.stateful_conv, recurrence.linear_attention),
    *rows(FLOAT, chosen_experts, condition=known_units),
    *rows(FLOAT, quantized.matmul_nbits, condition=known_blocks),
    *rows(frozenset({DType.U8}), quantized.gather_block_quantized, condition=known_blocks),
)

PORTABLE = Target("portable", STANDARD)
ORT = Target("ort", STANDARD + CONTRIB, (1, 32))
