"""What the two dialects take: every op that has an emission, on which element types, under which conditions.

`PORTABLE` is the standard operator set, version 24. `ORT` adds the contrib operators that ONNX Runtime has CPU kernels
for. Element types are those with a CPU kernel in ONNX Runtime 1.32, which the tests probe row by row.
"""

from graphwright.ir import ops
from graphwright.ir.declare import OpDef
from graphwright.ir.dialects.ort import operators, packed_caches, quantized, recurrence
from graphwright.ir.dialects.ort.experts import chosen_experts
from graphwright.ir.dialects.ort.group_query import group_query_attention, head_size
from graphwright.ir.dims import Dim
from graphwright.ir.errors import UserError
from graphwright.ir.graph import Op
from graphwright.ir.targets import Capability, Condition, Target
from graphwright.ir.types import DType, StateType

OPSET = 24

F16, BF16, F32, F64 = DType.F16, DType.BF16, DType.F32, DType.F64
BOOL, I32, I64 = DType.BOOL, DType.I32, DType.I64

FLOAT = frozenset({F32})
REAL = frozenset({F32, F64})
NUMBER = frozenset({F32, F64, I32, I64})
STORED = frozenset({BOOL, DType.I8, DType.U8, DType.I16, I32, I64, F16, BF16, F32, F64})
"""Types that can be moved about, whether or not there is arithmetic on them."""


CODES = frozenset({DType.I8, DType.U8})
"""Codes that a tensor holds one in a byte."""


def _rows(dtypes: frozenset[DType], *definitions: OpDef, condition: Condition | None = None) -> list[Capability]:
    return [Capability(d, dtypes, condition) for d in definitions]


def _size(op: Op, name: str, axis: int) -> Dim:
    value = op.required(name)
    return value.type.shape[axis]


def _integer(dim: Dim) -> int:
    assert dim.constant is not None, f"{dim} is not a number"
    return dim.constant


def masked_scores(op: Op) -> str | None:
    """The mask operand of Attention is indexed by the batch."""
    mask, q = op.operand("mask"), op.required("q")
    if mask is not None and mask.tensor.dtype not in (BOOL, q.tensor.dtype):
        return f"a mask of {mask.tensor.dtype} over scores of {q.tensor.dtype}"
    return None


def grouped_heads(op: Op) -> str | None:
    """GroupQueryAttention's CPU kernel: head sizes in steps of 8, and of 16 with rotary embedding inside."""
    cache = op.required("past_key").type
    assert isinstance(cache, StateType)
    size = head_size(cache)
    assert size is not None, f"{cache} has heads of a fixed size"
    if size % 8:
        return f"head size {size} is not a multiple of 8"
    cos = op.operand("cos")
    if cos is None:
        return None
    if size % 16:
        return f"head size {size} is not a multiple of 16, so rotary embedding cannot be inside the attention"
    pairs = _integer(cos.type.shape[1])
    if pairs % 8:
        return f"{pairs} rotary pairs are not a multiple of 8, so rotary embedding cannot be inside the attention"
    return None


def known_rows(op: Op) -> str | None:
    """The kernels of skip norms take two or three axes."""
    rank = op.required("x").type.rank
    return None if rank in (2, 3) else f"a sum of {rank} axes before a norm"


def known_codes(op: Op) -> str | None:
    """Codes of whole bytes."""
    codes = op.result if op.definition is ops.quantize_tensor else op.required("codes")
    return known_scale(op) if codes.tensor.dtype in CODES else f"no codes of {codes.tensor.dtype}"


def known_scale(op: Op) -> str | None:
    """Scales in float32, in which the codes are computed."""
    scale = op.required("scale").tensor.dtype
    return None if scale is F32 else f"a scale of {scale}"


def contiguous_cache(op: Op) -> str | None:
    """TensorScatter writes a row's tokens one after the other; lowering rewrites rings to gathers."""
    cache = op.required("cache").type
    assert isinstance(cache, StateType)
    return None if cache.layout == "contiguous" else f"no append to a {cache.layout} cache"


def chosen_numbers(op: Op) -> str | None:
    """`where`, whose first operand is always bool: the type that counts is that of the others."""
    dtype = op.required("x").tensor.dtype
    return None if dtype in NUMBER | {BOOL} else f"no choice between {dtype}"


def known_target(op: Op) -> str | None:
    dtype = op.attribute("dtype", DType)
    return None if dtype in STORED else f"no cast to {dtype}"


def known_units(op: Op) -> str | None:
    """MoE's CPU kernel: SwiGLU with rows of gate and up in turn, or an activation alone; it keeps the size of x."""
    kind, size, out = op.attributes["kind"], _size(op, "x", 1), _size(op, "down", 1)
    if size is not out:
        return f"experts from size {size} to {out}"
    if op.attributes["gated"]:
        return None if kind == "silu" else f"a gate of {kind}"
    if op.attributes["alpha"] != 1.0:
        return "silu with an alpha and without a gate"
    return None if kind in ("silu", "relu", "gelu_tanh") else f"experts with {kind}"


BLOCKS = (256, 128, 64, 32, 16)
ROUNDED_TWO_BITS = (128, 64, 32)
"""Blocks of 2-bit codes whose kernel rounds x; with others it takes x as it is, whatever it is told."""


def known_blocks(op: Op) -> str | None:
    """The blocks that operators of packed codes know, and those that their kernels round x for."""
    bits, block = op.attributes["bits"], op.attributes["block"]
    if block not in BLOCKS:
        return f"blocks of {block} codes"
    if op.attributes.get("rounded") and bits == 2 and block not in ROUNDED_TWO_BITS:
        return f"x is not rounded before a product with 2-bit codes in blocks of {block}"
    return None


def known_rounding(op: Op) -> str | None:
    """Rounding to integers, and to the floats that Cast knows."""
    to = op.attribute("to", DType)
    return None if to.is_integer or to in (DType.F8E4M3, DType.F8E5M2) else f"no rounding to {to}"


STANDARD: tuple[Capability, ...] = (
    # Moving elements.
    *_rows(STORED - {BF16}, ops.constant, ops.expand),
    *_rows(STORED, ops.reshape, ops.transpose, ops.slice, ops.concat, ops.split),
    *_rows(STORED, ops.split_heads, ops.merge_heads, ops.gather, ops.gather_elements, ops.embedding, ops.take_tokens),
    *_rows(FLOAT | {F64, I64}, ops.scatter_elements),
    *_rows(NUMBER, ops.topk),
    *_rows(STORED, ops.kv_append, condition=contiguous_cache),
    *_rows(STORED, ops.kv_read, operators.as_cache, operators.gather_ring),
    # Codes.
    *_rows(FLOAT, ops.quantize_tensor, condition=known_codes),
    *_rows(CODES, ops.dequantize_tensor, condition=known_codes),
    *_rows(FLOAT, packed_caches.quantize_packed, condition=known_scale),
    *_rows(frozenset({DType.U8}), packed_caches.dequantize_packed, condition=known_scale),
    *_rows(STORED, ops.cast, condition=known_target),
    # Logic and choice.
    *_rows(frozenset({BOOL}), ops.logical_and, ops.logical_or, ops.logical_not, ops.any, ops.all),
    *_rows(frozenset({BOOL}), ops.where, condition=chosen_numbers),
    # Arithmetic.
    *_rows(NUMBER, ops.iota, ops.sub, ops.div, ops.remainder, ops.neg, ops.abs),
    *_rows(frozenset({I64}), ops.dim_value),
    *_rows(NUMBER | {BOOL}, ops.add, ops.mul, ops.maximum, ops.minimum, ops.eq, ops.ne),
    *_rows(NUMBER | {BOOL}, ops.sum, ops.cumsum, ops.amax, ops.amin),
    *_rows(NUMBER, ops.pow, ops.lt, ops.le, ops.gt, ops.ge),
    *_rows(
        REAL, ops.exp, ops.log, ops.log1p, ops.sqrt, ops.rsqrt, ops.reciprocal, ops.sin, ops.cos, ops.tanh, ops.sigmoid
    ),
    *_rows(REAL, ops.floor, ops.mean, ops.var, ops.softmax, ops.matmul, ops.linear),
    *_rows(REAL, ops.softcap),
    *_rows(FLOAT, ops.erf, ops.activation, ops.glu, ops.convolution, ops.moe_experts),
    # Norms state their epsilon in float32, too coarse for float64.
    *_rows(FLOAT | {F16}, ops.rms_norm, ops.layer_norm),
    # Recurrences.
    *_rows(FLOAT, ops.causal_conv, ops.linear_recurrence, ops.weighted_mean),
    *_rows(NUMBER, ops.running_sum),
    # Quantized weights and rounded activations. Integers are the types of codes.
    *_rows(FLOAT, ops.fake_quantize, condition=known_rounding),
    *_rows(FLOAT, quantized.round_rows),
    *_rows(frozenset({DType.U8}), quantized.matmul_integer),
    *_rows(frozenset({DType.U8}), quantized.gather_blocks),
    *_rows(frozenset({DType.I4, DType.U4, DType.I8, DType.U8}), quantized.dequantize_linear),
    # Single operators that stand for several ops.
    *_rows(FLOAT | {F16}, operators.rotary_embedding),
    *_rows(FLOAT | {F16}, operators.masked_attention, condition=masked_scores),
)

CONTRIB: tuple[Capability, ...] = (
    *_rows(REAL, operators.fused_matmul),
    *_rows(FLOAT | {F16}, operators.skip_rms_norm, operators.skip_layer_norm, condition=known_rows),
    *_rows(FLOAT | {F16}, group_query_attention, condition=grouped_heads),
    *_rows(FLOAT, recurrence.stateful_conv, recurrence.linear_attention),
    *_rows(FLOAT, chosen_experts, condition=known_units),
    *_rows(FLOAT, quantized.matmul_nbits, condition=known_blocks),
    *_rows(frozenset({DType.U8}), quantized.gather_block_quantized, condition=known_blocks),
)

PORTABLE = Target("portable", STANDARD)
ORT = Target("ort", STANDARD + CONTRIB)

TARGETS: dict[str, Target] = {target.name: target for target in (ORT, PORTABLE)}


def select_target(dialect: str) -> Target:
    """The table of a dialect by its name; raises `UserError` for another name."""
    if dialect not in TARGETS:
        raise UserError(f"dialect is '{dialect}'; it must be one of {', '.join(TARGETS)}")
    return TARGETS[dialect]
