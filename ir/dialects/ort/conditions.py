"""What ONNX Runtime's kernels ask beyond an element type: conditions of the rows of its tables."""

from graphwright.ir import ops
from graphwright.ir.dialects.ort.group_query import head_size
from graphwright.ir.dims import Dim
from graphwright.ir.graph import Op
from graphwright.ir.interpreter import cone
from graphwright.ir.types import DType, StateType

F16, BF16, F32, F64 = DType.F16, DType.BF16, DType.F32, DType.F64
BOOL, I32, I64 = DType.BOOL, DType.I32, DType.I64

NUMBER = frozenset({F32, F64, I32, I64})
STORED = frozenset({BOOL, DType.I8, DType.U8, DType.I16, I32, I64, F16, BF16, F32, F64})
"""Types that can be moved about, whether or not there is arithmetic on them."""


CODES = frozenset({DType.I8, DType.U8})
"""Codes that a tensor holds one in a byte."""


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


def no_padding(op: Op) -> str | None:
    """GroupQueryAttention as it was before it was told how many of its tokens are real."""
    if op.operand("query_length") is not None:
        return f"{op.name} has no query_length"
    return grouped_heads(op)


def real_tokens(op: Op) -> str | None:
    """GroupQueryAttention that is told how many of its tokens are real."""
    problem = grouped_heads(op)
    return f"{op.name} lacks a query_length" if problem is None and op.operand("query_length") is None else problem


def grouped_heads_on_gpus(op: Op) -> str | None:
    """GroupQueryAttention's CUDA kernel, which reads the total length on the CPU: it must not come from the GPU."""
    total = op.required("total_length")
    if total.owner is None or any(v.owner is None for each in cone([total]) for v in each.inputs):
        return "the total length is computed on the GPU and read on the CPU, which copies it in every step"
    problem = no_padding(op)
    if problem is not None:
        return problem
    cache = op.required("past_key").type
    assert isinstance(cache, StateType)
    size = head_size(cache)
    return f"head size {size} is more than {LARGEST_HEAD}" if size is not None and size > LARGEST_HEAD else None


LARGEST_HEAD = 256
"""Of the kernels for attention in half precision."""


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


def chosen_numbers_on_gpus(op: Op) -> str | None:
    """`where` on the GPU, which chooses between floats of every length."""
    dtype = op.required("x").tensor.dtype
    return None if dtype in NUMBER | {BOOL, F16, BF16, DType.U8} else f"no choice between {dtype}"


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


def known_blocks_on_gpus(op: Op) -> str | None:
    """The CUDA kernels multiply x as it is, with scales of its type, in whole blocks."""
    x, scales, block = op.required("x").tensor, op.required("scales").tensor.dtype, op.attribute("block", int)
    if op.attributes["rounded"]:
        return "x is not rounded before a product with codes"
    if scales is not x.dtype:
        return f"scales of {scales} with x of {x.dtype}"
    if op.attributes["bits"] not in (4, 8):
        return f"codes of {op.attributes['bits']} bits"
    if block > LARGEST_BLOCK_ON_GPUS or _integer(x.shape[-1]) % block:
        return f"{x.shape[-1]} codes in blocks of {block}"
    return None


LARGEST_BLOCK_ON_GPUS = 128


def known_rounding(op: Op) -> str | None:
    """Rounding to integers, and to the floats that Cast knows."""
    to = op.attribute("to", DType)
    return None if to.is_integer or to in (DType.F8E4M3, DType.F8E5M2) else f"no rounding to {to}"
