"""GroupQueryAttention of ONNX Runtime, over caches of floats or of codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.declare import op
from graphwright.ir.dialects.ort.operators import rotary_embedding, table_rows
from graphwright.ir.dialects.ort.packed_caches import dequantize_packed, quantize_packed
from graphwright.ir.dims import Dim
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.attention import attention
from graphwright.ir.ops.caches import kv_append
from graphwright.ir.ops.codes import dequantize_tensor, quantize_tensor
from graphwright.ir.ops.rules import require_equal, require_float, require_rank, same_dtype
from graphwright.ir.torch_types import dtype_of
from graphwright.ir.types import DType, StateType, TensorType

if TYPE_CHECKING:
    from torch import Tensor

CODES_IN_A_BYTE = {DType.I8: 1, DType.U8: 2}
"""How many codes an element of a cache holds, by its type: of 8 bits, or, packed, of 4."""


def head_size(cache: StateType) -> int | None:
    """How many numbers a cache of floats or codes holds of a token and head."""
    size = cache.shape[3].constant
    return None if size is None else size * CODES_IN_A_BYTE.get(cache.dtype, 1)


@op("ort.group_query_attention", in_place={1: "past_key", 2: "past_value"})
def group_query_attention(
    query: TensorType,
    past_key: StateType,
    past_value: StateType,
    last_position: TensorType,
    total_length: TensorType,
    query_length: TensorType | None = None,
    key: TensorType | None = None,
    value: TensorType | None = None,
    cos: TensorType | None = None,
    sin: TensorType | None = None,
    sinks: TensorType | None = None,
    key_scale: TensorType | None = None,
    value_scale: TensorType | None = None,
    *,
    heads: int,
    scale: float,
    window: int = 0,
    softcap: float = 0.0,
    interleaved: bool = False,
) -> tuple[TensorType, StateType, StateType]:
    """Rotary embedding, cache update and causal grouped-query attention in one operator.

    query [batch, sequence, heads * size], key and value [batch, sequence, kv heads * size]; or key and value absent
    and query all three packed along the last axis. past_key and past_value [batch, kv heads, capacity, size] are
    updated in place. All i32: last_position [batch] is the position of each row's last new token, total_length [] at
    least the largest of them plus one, query_length [batch] the number of new tokens that are real; later ones are
    padding, whose results are unspecified. Without query_length all are real. Row p of cos and sin [context, pairs]
    holds the rotation of position p; without them nothing is rotated. A window > 0 shows each query its last `window`
    keys. sinks and softcap are those of `attention`. Results: [batch, sequence, heads * size] and both caches.

    With key_scale and value_scale, f32[] or f32[1, kv heads, 1, size], the caches hold codes as `quantize_tensor` gives
    them, i8, or, two in a byte, u8[batch, kv heads, capacity, size / 2] as `quantize_packed` does; attention sees the
    codes of the new tokens too.
    """
    require_float("query", query)
    require_rank("query", query, 3)
    kv_heads, size = past_key.shape[1].constant, head_size(past_key)
    if past_value != past_key or past_key.layout != "contiguous" or kv_heads is None or size is None:
        raise IRTypeError(f"caches are {past_key} and {past_value}")
    if (key is None) != (value is None) or (cos is None) != (sin is None):
        raise IRTypeError("key comes with value and cos with sin")
    _require_scales(query, past_key, key_scale, value_scale)
    batch, sequence = query.shape[:2]
    packed = heads + 2 * kv_heads if key is None else heads
    require_equal("last axis of query", query.shape[2], Dim.of(packed * size))
    for type in (key, value):
        if type is not None and type != query.with_shape(batch, sequence, kv_heads * size):
            raise IRTypeError(f"key or value is {type}, query {query}")
    if heads % kv_heads:
        raise IRTypeError(f"{heads} query heads do not divide over {kv_heads} key heads")
    for name, type, shape in (
        ("last_position", last_position, (batch,)),
        ("total_length", total_length, ()),
        ("query_length", query_length, (batch,)),
    ):
        if type is not None and type != TensorType(DType.I32, shape):
            raise IRTypeError(f"{name} is {type}")
    if cos is not None and (cos != sin or cos.dtype is not query.dtype or cos.rank != 2):
        raise IRTypeError(f"cos is {cos} and sin {sin}")
    if sinks is not None and sinks != TensorType(query.dtype, (Dim.of(heads),)):
        raise IRTypeError(f"sinks are {sinks}")
    return query.with_shape(batch, sequence, heads * size), past_key, past_value


def _require_scales(query: TensorType, cache: StateType, key: TensorType | None, value: TensorType | None) -> None:
    """Raises `IRTypeError` unless the caches hold floats and have no scales, or codes and have two."""
    if key is None and value is None:
        same_dtype(query, cache.tensor)
        return
    channels = (Dim.of(1), cache.shape[1], Dim.of(1), Dim.of(head_size(cache) or 0))
    known = [TensorType(DType.F32, shape) for shape in ((), channels)]
    if cache.dtype not in CODES_IN_A_BYTE or key is None or key != value or key not in known:
        raise IRTypeError(f"caches are {cache}, their scales {key} and {value}")


@group_query_attention.reference
def group_query_attention_reference(
    query: Tensor,
    past_key: Tensor,
    past_value: Tensor,
    last_position: Tensor,
    total_length: Tensor,
    query_length: Tensor | None,
    key: Tensor | None,
    value: Tensor | None,
    cos: Tensor | None,
    sin: Tensor | None,
    sinks: Tensor | None,
    key_scale: Tensor | None,
    value_scale: Tensor | None,
    *,
    heads: int,
    scale: float,
    window: int,
    softcap: float,
    interleaved: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    kv_heads = past_key.shape[1]
    size = query.shape[2] // (heads + 2 * kv_heads if key is None else heads)
    if key is None or value is None:
        query, new_keys, new_values = torch.split(query, [heads * size, kv_heads * size, kv_heads * size], 2)
    else:
        new_keys, new_values = key, value
    key_length = last_position.long() + 1
    past_length = key_length - (query.shape[1] if query_length is None else query_length)
    positions = past_length[:, None] + torch.arange(query.shape[1])
    if cos is not None and sin is not None:
        inside = positions.clamp(max=cos.shape[0] - 1)  # padding may stand beyond the table
        turn = {"interleaved": interleaved}
        query = rotary_embedding.evaluate([query, cos, sin, inside], {"heads": heads, **turn})
        new_keys = rotary_embedding.evaluate([new_keys, cos, sin, inside], {"heads": kv_heads, **turn})

    def split(x: Tensor, count: int) -> Tensor:
        return x.reshape(*x.shape[:2], count, size).transpose(1, 2)

    new_key = kv_append.evaluate([past_key, _encoded(split(new_keys, kv_heads), past_key, key_scale), past_length], {})
    new_value = kv_append.evaluate(
        [past_value, _encoded(split(new_values, kv_heads), past_value, value_scale), past_length], {}
    )
    held = (_decoded(c, s, dtype_of(query)) for c, s in ((new_key, key_scale), (new_value, value_scale)))
    result = attention.evaluate(
        [split(query, heads), *held, positions, key_length, None, sinks],
        {"scale": scale, "mask": "sliding" if window else "causal", "window": window, "softcap": softcap},
    )
    return result.transpose(1, 2).flatten(2), new_key, new_value


def _encoded(x: Tensor, cache: Tensor, scale: Tensor | None) -> Tensor:
    """New keys or values as the cache holds them."""
    if scale is None:
        return x
    if cache.dtype is torch.uint8:
        return quantize_packed.evaluate([x, scale], {})
    return quantize_tensor.evaluate([x, scale], {"to": DType.I8})


def _decoded(cache: Tensor, scale: Tensor | None, dtype: DType) -> Tensor:
    if scale is None:
        return cache
    read = dequantize_packed if cache.dtype is torch.uint8 else dequantize_tensor
    return read.evaluate([cache, scale], {"dtype": dtype})


@group_query_attention.cost
def group_query_attention_cost(op: Op) -> Cost:
    query, cache = op.required("query").type, op.required("past_key").type
    assert isinstance(cache, StateType)
    batch, sequence, _ = query.shape
    heads, size = op.attribute("heads", int), head_size(cache)
    assert size is not None, f"{cache} has heads of a fixed size"
    scores = batch * sequence * heads * cache.shape[2]
    new = batch * sequence * cache.shape[1] * cache.shape[3] * cache.dtype.bits
    return default_cost(
        op,
        scores * (size * 4 + 5),
        reads=table_rows(op, batch * sequence),
        writes=(op.results[0].type.bits, new, new),
    )
