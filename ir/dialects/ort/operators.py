"""Ops that exist only as single ONNX operators: what lowering rewrites a graph into.

`onnx.*` are operators of the standard opset, `ort.*` contrib operators of ONNX Runtime. They are declared like every
other op, so a lowered graph still prints, verifies and runs in the interpreter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.cost import ZERO, Cost, Size, default_cost
from graphwright.ir.declare import op
from graphwright.ir.dims import Dim, product
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.attention import attention
from graphwright.ir.ops.neural import layer_norm, rms_norm
from graphwright.ir.ops.rules import (
    broadcast,
    require_equal,
    require_float,
    require_indices,
    require_rank,
    same_dtype,
)
from graphwright.ir.types import DType, StateType, TensorType

if TYPE_CHECKING:
    from torch import Tensor


@op("onnx.rotary_embedding")
def rotary_embedding(
    x: TensorType, cos: TensorType, sin: TensorType, positions: TensorType, *, heads: int, interleaved: bool
) -> TensorType:
    """`rope` of x [batch, sequence, heads * size] or [batch, heads, sequence, size] by tables.

    Row p of cos and sin, both [context, pairs], holds the cosines and sines of the angles at position p; positions are
    i64 [batch, sequence] and must lie inside the tables.
    """
    require_float("x", x)
    require_rank("cos", cos, 2)
    if sin != cos or cos.dtype is not x.dtype:
        raise IRTypeError(f"x is {x}, cos {cos} and sin {sin}")
    if x.rank not in (3, 4) or (x.rank == 4 and x.shape[1] != heads):
        raise IRTypeError(f"x is {x} with {heads} heads")
    if positions != TensorType(DType.I64, (x.shape[0], x.shape[-2])):
        raise IRTypeError(f"positions {positions} are not one for each token of {x}")
    size, pairs = x.shape[-1].exact_div(heads if x.rank == 3 else 1), cos.shape[1].constant
    if size is None or size.constant is None or pairs is None or 2 * pairs > size.constant:
        raise IRTypeError(f"{pairs} pairs do not fit in {heads} heads of {x}")
    return x


@rotary_embedding.reference
def rotary_embedding_reference(
    x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor, *, heads: int, interleaved: bool
) -> Tensor:
    pairs, heads_last = cos.shape[1], x.dim() == 3
    head_axis = 2 if heads_last else 1
    c, s = cos[positions].unsqueeze(head_axis), sin[positions].unsqueeze(head_axis)
    split = x.reshape(*x.shape[:2], heads, -1) if heads_last else x
    turned, rest = split[..., : 2 * pairs], split[..., 2 * pairs :]
    if interleaved:
        a, b = turned[..., 0::2], turned[..., 1::2]
        out = torch.stack([a * c - b * s, b * c + a * s], -1).flatten(-2)
    else:
        a, b = turned[..., :pairs], turned[..., pairs:]
        out = torch.cat([a * c - b * s, b * c + a * s], -1)
    return torch.cat([out, rest], -1).reshape(x.shape)


@rotary_embedding.cost
def rotary_embedding_cost(op: Op) -> Cost:
    rows = product(op.required("positions").type.shape)
    return default_cost(op, op.results[0].type.elements * 6, reads=table_rows(op, rows))


def table_rows(op: Op, rows: Dim) -> dict[str, Size]:
    """Bits read of tables of cosines and sines of which `rows` rows are picked."""
    tables = {name: op.operand(name) for name in ("cos", "sin")}
    return {name: rows * v.type.shape[1] * v.tensor.dtype.bits for name, v in tables.items() if v is not None}


@op("onnx.as_cache", view=True)
def as_cache(x: TensorType) -> StateType:
    """A plain tensor [batch, heads, capacity, size] used as a cache for one run."""
    require_rank("x", x, 4)
    return StateType("contiguous", x)


@as_cache.reference
def as_cache_reference(x: Tensor) -> Tensor:
    return x


@op("onnx.gather_ring")
def gather_ring(x: TensorType, index: TensorType) -> StateType:
    """A ring cache whose place j of row b and head h is place index[b, h, j] (i64) of x [batch, heads, keys, size]."""
    require_rank("x", x, 4)
    require_indices("index", index, 3)
    for axis in (0, 1):
        require_equal(f"axis {axis} of x and index", x.shape[axis], index.shape[axis])
    return StateType("ring", x.with_shape(*index.shape, x.shape[3]))


@gather_ring.reference
def gather_ring_reference(x: Tensor, index: Tensor) -> Tensor:
    return torch.take_along_dim(x, index[..., None], 2)


@gather_ring.cost
def gather_ring_cost(op: Op) -> Cost:
    return default_cost(op, ZERO, reads={"x": op.results[0].type.bits})


@op("onnx.attention")
def masked_attention(
    q: TensorType,
    k: TensorType | StateType,
    v: TensorType | StateType,
    mask: TensorType | None = None,
    *,
    scale: float,
    softcap: float = 0.0,
) -> TensorType:
    """`attention` of all keys but those that the mask hides.

    The mask broadcasts to [batch, heads, sequence, keys]; bool hides where it is false, floats are added to the scores.
    """
    key, value = (t.tensor if isinstance(t, StateType) else t for t in (k, v))
    for name, type in (("q", q), ("k", key), ("v", value)):
        require_rank(name, type, 4)
    same_dtype(q, key, value)
    if mask is not None:
        require_rank("mask", mask, 4)
        whole = (q.shape[0], q.shape[1], q.shape[2], key.shape[2])
        if broadcast(mask.shape, whole) != whole:
            raise IRTypeError(f"mask {mask} does not broadcast to the scores")
    return TensorType(q.dtype, (*q.shape[:3], value.shape[3]))


@masked_attention.reference
def masked_attention_reference(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, scale: float, softcap: float
) -> Tensor:
    positions = torch.zeros(1, q.shape[2], dtype=torch.int64)
    return attention.evaluate(
        [q, k, v, positions, None, mask, None], {"scale": scale, "mask": "full", "window": 0, "softcap": softcap}
    )


@masked_attention.cost
def masked_attention_cost(op: Op) -> Cost:
    return attention.price(op)


def _require_skip(x: TensorType, skip: TensorType) -> None:
    require_float("x", x)
    if x != skip:
        raise IRTypeError(f"x is {x} and skip {skip}")


@op("ort.skip_rms_norm")
def skip_rms_norm(
    x: TensorType, skip: TensorType, weight: TensorType, *, epsilon: float
) -> tuple[TensorType, TensorType]:
    """`rms_norm` of x + skip, and x + skip itself."""
    _require_skip(x, skip)
    rms_norm.rule(x, weight, epsilon=epsilon)
    return x, x


@skip_rms_norm.reference
def skip_rms_norm_reference(x: Tensor, skip: Tensor, weight: Tensor, *, epsilon: float) -> tuple[Tensor, Tensor]:
    return rms_norm.evaluate([x + skip, weight], {"epsilon": epsilon}), x + skip


@op("ort.skip_layer_norm")
def skip_layer_norm(
    x: TensorType, skip: TensorType, weight: TensorType, bias: TensorType | None = None, *, epsilon: float
) -> tuple[TensorType, TensorType]:
    """`layer_norm` of x + skip, and x + skip itself."""
    _require_skip(x, skip)
    layer_norm.rule(x, weight, bias, epsilon=epsilon)
    return x, x


@skip_layer_norm.reference
def skip_layer_norm_reference(
    x: Tensor, skip: Tensor, weight: Tensor, bias: Tensor | None, *, epsilon: float
) -> tuple[Tensor, Tensor]:
    return layer_norm.evaluate([x + skip, weight, bias], {"epsilon": epsilon}), x + skip


@skip_rms_norm.cost
@skip_layer_norm.cost
def skip_rms_norm_cost(op: Op) -> Cost:
    return default_cost(op, op.results[0].type.elements * 6)


@op("ort.fused_matmul")
def fused_matmul(x: TensorType, y: TensorType) -> TensorType:
    """x [..., m, k] times y [n, k] transposed, which is read as it lies."""
    require_rank("y", y, 2)
    same_dtype(x, y)
    require_equal("last axis of x and of y", x.shape[-1], y.shape[1])
    return TensorType(x.dtype, (*x.shape[:-1], y.shape[0]))


@fused_matmul.reference
def fused_matmul_reference(x: Tensor, y: Tensor) -> Tensor:
    return x @ y.T


@fused_matmul.cost
def fused_matmul_cost(op: Op) -> Cost:
    return default_cost(op, op.results[0].type.elements * op.inputs[0].type.shape[-1] * 2)
