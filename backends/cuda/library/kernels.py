"""The kernels of this backend as they are declared; neither Triton nor bodies of kernels are imported for that."""

from __future__ import annotations

from functools import cache

from graphwright.backends.cuda.gpu import EMULATED, Gpu
from graphwright.backends.cuda.library.choices import (
    ATTENTION,
    CAUSAL_CONV,
    CHOOSING,
    CODED_LINEAR,
    LINEAR,
    RECURRENCE,
    SPLIT_ATTENTION,
    TILES,
    WEIGHTED_MEAN,
)
from graphwright.backends.cuda.library.conditions import (
    FLOATS,
    contiguous_caches,
    fixed_rows,
    known_channels,
    known_experts,
    known_heads,
    known_states,
    mean_of_channels,
    merged_heads,
    norm_of_rows,
    rounded_groups,
    rows_of_tokens,
    softmax_of_rows,
    stored_codes,
    stored_matrix,
    sum_of_rows,
    to_floats,
)
from graphwright.backends.cuda.library.layouts import CODES
from graphwright.backends.cuda.library.tail import TAIL
from graphwright.backends.kernel_library import Kernel, KernelLibrary
from graphwright.ir import ops
from graphwright.ir.dialects.cuda.append_attention import append_attention
from graphwright.ir.dialects.cuda.attention import combine_splits, fused_attention, split_attention
from graphwright.ir.dialects.cuda.choosing import choose_tokens, next_length
from graphwright.ir.dialects.cuda.linear import fused_linear
from graphwright.ir.dialects.cuda.rotary import rotary_append, rotary_embedding, rotary_table
from graphwright.ir.types import DType

SINGLE = frozenset({DType.F32})
INDICES = frozenset({DType.I64})
BODIES = "graphwright.backends.cuda.emit"

HOT = (
    Kernel(fused_linear, FLOATS, stored_matrix, name="linear", body=f"{BODIES}.linear:emit_linear", choices=LINEAR),
    Kernel(
        fused_linear,
        FLOATS,
        condition=stored_codes,
        quantized=True,
        name="coded_linear",
        body=f"{BODIES}.coded_weights:emit_coded_linear",
        layouts={"weight": CODES},
        choices=CODED_LINEAR,
    ),
    Kernel(
        ops.quantized_embedding,
        INDICES,
        condition=stored_codes,
        quantized=True,
        name="quantized_embedding",
        body=f"{BODIES}.coded_weights:emit_quantized_embedding",
        layouts={"weight": CODES},
    ),
    Kernel(choose_tokens, SINGLE, name="choose_tokens", body=f"{BODIES}.rows:emit_choose_tokens", choices=CHOOSING),
    Kernel(next_length, INDICES, name="next_length", body=f"{BODIES}.rows:emit_next_length"),
    Kernel(rotary_table, INDICES, name="rotary_table", body=f"{BODIES}.rotary:emit_rotary_table"),
    Kernel(rotary_embedding, FLOATS, name="rotary_embedding", body=f"{BODIES}.rotary:emit_rotary_embedding"),
    Kernel(rotary_append, FLOATS, contiguous_caches, name="rotary_append", body=f"{BODIES}.rotary:emit_rotary_append"),
    Kernel(
        fused_attention,
        FLOATS,
        merged_heads,
        name="attention",
        body=f"{BODIES}.attention:emit_attention",
        choices=ATTENTION,
    ),
    Kernel(
        split_attention,
        FLOATS,
        known_heads,
        name="split_attention",
        body=f"{BODIES}.attention:emit_split_attention",
        choices=SPLIT_ATTENTION,
    ),
    Kernel(
        append_attention,
        FLOATS,
        name="append_attention",
        body=f"{BODIES}.append_attention:emit_append_attention",
        choices=SPLIT_ATTENTION,
    ),
    Kernel(combine_splits, SINGLE, name="combine_splits", body=f"{BODIES}.attention:emit_combine_splits"),
    Kernel(ops.rms_norm, FLOATS, norm_of_rows, name="rms_norm", body=f"{BODIES}.rows:emit_rms_norm"),
    Kernel(ops.layer_norm, FLOATS, norm_of_rows, name="layer_norm", body=f"{BODIES}.rows:emit_layer_norm"),
    Kernel(ops.softmax, FLOATS, softmax_of_rows, name="softmax", body=f"{BODIES}.rows:emit_softmax"),
    Kernel(
        ops.fake_quantize,
        FLOATS,
        rounded_groups,
        name="fake_quantize",
        body=f"{BODIES}.rows:emit_fake_quantize",
    ),
    Kernel(ops.embedding, FLOATS, fixed_rows, name="embedding", body=f"{BODIES}.rows:emit_embedding"),
    Kernel(ops.take_tokens, FLOATS, rows_of_tokens, name="take_tokens", body=f"{BODIES}.rows:emit_take_tokens"),
    Kernel(ops.cast, FLOATS, to_floats, name="cast", body=f"{BODIES}.rows:emit_cast"),
    Kernel(ops.add, INDICES, sum_of_rows, name="add", body=f"{BODIES}.rows:emit_add"),
    Kernel(
        ops.moe_experts,
        FLOATS,
        known_experts,
        name="moe_experts",
        body=f"{BODIES}.experts:emit_moe_experts",
        choices=TILES,
    ),
    Kernel(
        ops.causal_conv,
        FLOATS,
        known_channels,
        name="causal_conv",
        body=f"{BODIES}.recurrence:emit_causal_conv",
        choices=CAUSAL_CONV,
    ),
    Kernel(
        ops.linear_recurrence,
        FLOATS,
        known_states,
        name="linear_recurrence",
        body=f"{BODIES}.recurrence:emit_linear_recurrence",
        choices=RECURRENCE,
    ),
    Kernel(
        ops.weighted_mean,
        FLOATS,
        mean_of_channels,
        name="weighted_mean",
        body=f"{BODIES}.recurrence:emit_weighted_mean",
        choices=WEIGHTED_MEAN,
    ),
    Kernel(ops.iota, INDICES, name="iota", body=f"{BODIES}.rows:emit_iota"),
)

KERNELS = (*HOT, *TAIL)
"""Of several for one op the first is taken: what Triton computes comes before what TVM does."""


@cache
def library_for(gpu: Gpu) -> KernelLibrary:
    """The kernels for an architecture. All have kernels for the same ops, with other defaults of choices."""
    return KernelLibrary("cuda", gpu, KERNELS)


LIBRARY = library_for(EMULATED)
