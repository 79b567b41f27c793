"""What ONNX Runtime takes on GPUs: ops all of whose nodes have a CUDA kernel in onnxruntime-gpu 1.31.

The tests hold each row against the table of kernels that is read off that release. What only its source tells is left
out: its Attention refuses some masks and heads when it runs, so attention that does not fit GroupQueryAttention is
spelt out.
"""

from graphwright.ir import ops
from graphwright.ir.dialects.ort import conditions, operators, packed_caches, quantized, recurrence
from graphwright.ir.dialects.ort.capabilities import rows
from graphwright.ir.dialects.ort.conditions import BF16, BOOL, CODES, F16, F32, F64, I32, I64, STORED
from graphwright.ir.dialects.ort.experts import chosen_experts
from graphwright.ir.dialects.ort.group_query import group_query_attention
from graphwright.ir.targets import Capability, Target
from graphwright.ir.types import DType

INTEGERS = frozenset({I32, I64})
HALF = frozenset({F16, BF16})
FLOAT = HALF | {F32}
EXACT = frozenset({F16, F32})
"""Floats of ops that have no kernel for bf16, and are computed in f32 there."""

ROWS: tuple[Capability, ...] = (
    # Moving elements.
    *rows(STORED, ops.constant, ops.expand, ops.reshape, ops.transpose, ops.slice, ops.concat, ops.split),
    *rows(STORED, ops.split_heads, ops.merge_heads, ops.gather, ops.gather_elements, ops.embedding),
    *rows(FLOAT | {BOOL, I64, F64}, ops.take_tokens, operators.gather_ring),
    *rows(FLOAT | {F64, I64}, ops.scatter_elements),
    *rows(FLOAT | INTEGERS, ops.topk),
    *rows(STORED, ops.kv_append, condition=conditions.contiguous_cache),
    *rows(STORED, ops.kv_read, operators.as_cache),
    # Codes.
    *rows(frozenset({F32}), ops.quantize_tensor, condition=conditions.known_codes),
    *rows(CODES, ops.dequantize_tensor, condition=conditions.known_codes),
    *rows(frozenset({F32}), packed_caches.quantize_packed, condition=conditions.known_scale),
    *rows(STORED, ops.cast, condition=conditions.known_target),
    # Logic and choice.
    *rows(frozenset({BOOL}), ops.logical_and, ops.logical_or, ops.logical_not),
    *rows(frozenset({BOOL}), ops.where, condition=conditions.chosen_numbers_on_gpus),
    # Arithmetic.
    *rows(FLOAT | INTEGERS, ops.iota, ops.sub, ops.div, ops.neg, ops.abs, ops.pow),
    *rows(EXACT | INTEGERS, ops.remainder, ops.lt, ops.le, ops.gt, ops.ge, ops.amax, ops.amin),
    *rows(frozenset({I64}), ops.dim_value),
    *rows(FLOAT | INTEGERS | {BOOL}, ops.add, ops.mul, ops.maximum, ops.minimum, ops.sum),
    *rows(EXACT | INTEGERS | {BOOL}, ops.eq, ops.ne, ops.cumsum),
    *rows(FLOAT, ops.exp, ops.sqrt, ops.sin, ops.cos, ops.tanh, ops.sigmoid, ops.erf),
    *rows(EXACT, ops.log, ops.log1p, ops.rsqrt, ops.reciprocal, ops.floor),
    *rows(FLOAT, ops.mean, ops.var, ops.softmax, ops.matmul, ops.linear, ops.softcap),
    *rows(FLOAT, ops.activation, ops.glu, ops.convolution, ops.rms_norm, ops.layer_norm),
    # Recurrences.
    *rows(FLOAT, ops.causal_conv),
    *rows(EXACT | INTEGERS, ops.running_sum),
    *rows(EXACT, ops.fake_quantize, condition=conditions.known_rounding),
    # Single operators that stand for several ops.
    *rows(FLOAT, operators.rotary_embedding, operators.fused_matmul),
    *rows(FLOAT, operators.skip_rms_norm, operators.skip_layer_norm, condition=conditions.known_rows),
    *rows(HALF, group_query_attention, condition=conditions.grouped_heads_on_gpus),
    *rows(FLOAT, recurrence.stateful_conv, recurrence.linear_attention),
    *rows(FLOAT, chosen_experts, condition=conditions.known_units),
    *rows(FLOAT, quantized.matmul_nbits, condition=conditions.known_blocks_on_gpus),
    *rows(frozenset({DType.U8}), quantized.gather_block_quantized, condition=conditions.known_blocks),
)

ORT_CUDA = Target("ort-cuda", ROWS, (1, 31))
