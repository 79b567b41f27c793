"""Rotary embedding by tables, and a packed projection's output to what attention reads, in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.cost import Cost, default_cost, least
from graphwright.ir.declare import op
from graphwright.ir.dialects.cpu.columns import require_columns
from graphwright.ir.dialects.cpu.packed_caches import quantize_packed
from graphwright.ir.dialects.packed_codes import unpacked_state
from graphwright.ir.dims import Dim
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.attention import rotated
from graphwright.ir.ops.caches import kv_append
from graphwright.ir.ops.codes import SMALLEST_SCALE, quantize_tensor
from graphwright.ir.ops.rules import ONE, require_float, require_indices, require_rank, same_dtype
from graphwright.ir.rounding import Grid
from graphwright.ir.types import DType, StateType, TensorType

if TYPE_CHECKING:
    from torch import Tensor


@op("cpu.rotary_table")
def rotary_table(
    positions: TensorType, frequencies: TensorType, *, scale: float = 1.0
) -> tuple[TensorType, TensorType]:
    """Cosines and sines, times `scale`, of the angles positions[b, s] * frequencies[i]: both f32 [rows, sequence, n].

    positions are i64 [batch or 1, sequence], frequencies f32 [n].
    """
    require_indices("positions", positions, 2)
    require_rank("frequencies", frequencies, 1)
    if frequencies.dtype is not DType.F32 or frequencies.shape[0].constant is None:
        raise IRTypeError(f"frequencies are {frequencies}, expected f32 of a fixed number")
    table = TensorType(DType.F32, (*positions.shape, frequencies.shape[0]))
    return table, table


@rotary_table.reference
def rotary_table_reference(positions: Tensor, frequencies: Tensor, *, scale: float) -> tuple[Tensor, Tensor]:
    angle = positions[..., None].to(frequencies.dtype) * frequencies
    return angle.cos() * scale, angle.sin() * scale


@rotary_table.cost
def rotary_table_cost(op: Op) -> Cost:
    return default_cost(op, op.results[0].type.elements * 5)


def _require_tables(batch: Dim, sequence: Dim, size: Dim, cos: TensorType, sin: TensorType) -> None:
    require_rank("cos", cos, 3)
    if sin != cos or cos.dtype is not DType.F32 or cos.shape[0] not in (batch, ONE) or cos.shape[1] is not sequence:
        raise IRTypeError(f"cos is {cos} and sin {sin} for {sequence} tokens of {batch} rows")
    pairs, head = cos.shape[2].constant, size.constant
    if pairs is None or head is None or 2 * pairs > head:
        raise IRTypeError(f"{pairs} pairs do not fit in a head of {size}")


@op("cpu.rotary_embedding")
def rotary_embedding(x: TensorType, cos: TensorType, sin: TensorType, *, interleaved: bool) -> TensorType:
    """`rope` of x [batch, heads, sequence, size] by tables of `rotary_table` [batch or 1, sequence, pairs]."""
    require_float("x", x)
    require_rank("x", x, 4)
    _require_tables(x.shape[0], x.shape[2], x.shape[3], cos, sin)
    return x


@rotary_embedding.reference
def _turned(x: Tensor, cos: Tensor, sin: Tensor, *, interleaved: bool) -> Tensor:
    return rotated(x, cos.unsqueeze(1), sin.unsqueeze(1), interleaved=interleaved)


@rotary_embedding.cost
def rotary_embedding_cost(op: Op) -> Cost:
    return default_cost(op, op.result.type.elements * 6)


@op("cpu.rotary_append", in_place={1: "key_cache", 2: "value_cache", 3: "value_scale"})
def rotary_append(
    packed: TensorType,
    key_cache: StateType,
    value_cache: StateType,
    past_length: TensorType,
    new_length: TensorType | None = None,
    cos: TensorType | None = None,
    sin: TensorType | None = None,
    key_scale: TensorType | None = None,
    value_scale: TensorType | StateType | None = None,
    *,
    heads: int,
    query: int,
    key: int,
    value: int,
    interleaved: bool = False,
) -> tuple[TensorType | StateType, ...]:
    """Rows of a packed projection [batch, sequence, columns] to turned queries, and keys and values in their caches.

    In a row the heads of queries begin at column `query`, those of keys at `key`, those of values at `value`. Caches
    are [batch, kv heads, capacity, size], queries have the size of keys. Queries and keys are turned by
    `rotary_embedding`, where there are tables; keys and values are appended by `kv_append`. Results: the queries
    [batch, heads, sequence, size] and both caches.

    Caches of f16 beside float32 take the numbers rounded. With scales the caches hold codes of i8, as `quantize_tensor`
    gives them, or of i4 as `cpu.quantize_packed` does (u8, two in a byte). A scale is f32 [] for a cache, or
    [1, kv heads, 1, size] for its channels. Values may have a scale a token too, a cache f32
    [batch, kv heads, capacity, 1], which is appended to and is the fourth result: by the largest number of each head.
    """
    require_float("packed", packed)
    require_rank("packed", packed, 3)
    batch, sequence, _ = packed.shape
    sizes: list[int] = []
    for name, cache in (("key_cache", key_cache), ("value_cache", value_cache)):
        require_rank(name, cache.tensor, 4)
        _, kv_heads, _, size = (d.constant for d in unpacked_state(cache).shape)
        if kv_heads is None or size is None:
            raise IRTypeError(f"{name} {cache} has heads of no fixed number or size")
        sizes += [kv_heads, size]
    kv_heads, head_size, _, value_size = sizes
    if key_cache.layout != value_cache.layout or key_cache.shape[:3] != value_cache.shape[:3]:
        raise IRTypeError(f"caches are {key_cache} and {value_cache}")
    spans = {"query": (query, heads * head_size), "key": (key, kv_heads * head_size)}
    require_columns(packed, {**spans, "value": (value, kv_heads * value_size)})
    if (cos is None) != (sin is None):
        raise IRTypeError("cos comes with sin")
    if cos is not None and sin is not None:
        _require_tables(batch, sequence, unpacked_state(key_cache).shape[3], cos, sin)
    _require_scale("key", packed, key_cache, key_scale)
    _require_scale("value", packed, value_cache, value_scale)
    for cache in (key_cache, value_cache):
        new = TensorType(cache.dtype, (batch, cache.shape[1], sequence, cache.shape[3]))
        kv_append.rule(cache, new, past_length, new_length)
    queries = packed.with_shape(batch, heads, sequence, unpacked_state(key_cache).shape[3])
    return (queries, key_cache, value_cache, *([value_scale] if isinstance(value_scale, StateType) else []))


def _require_scale(name: str, packed: TensorType, cache: StateType, scale: TensorType | StateType | None) -> None:
    """Raises `IRTypeError` unless a cache of numbers has no scale, and one of codes a scale of a known shape."""
    if scale is None:
        if (packed.dtype, cache.dtype) != (DType.F32, DType.F16):
            same_dtype(packed, cache.tensor)
    elif (
        cache.dtype not in (DType.I8, DType.U8)
        or scale not in scale_types(cache)
        or (scale.rank and cache.shape[3] is ONE)
    ):
        raise IRTypeError(f"the {name} cache is {cache}, its scale {scale}")


def scale_types(cache: StateType) -> tuple[TensorType | StateType, ...]:
    """The types that scales of a cache of codes can have: for all of it, for its channels, for its tokens."""
    batch, heads, capacity, size = unpacked_state(cache).shape
    whole, channels = (TensorType(DType.F32, shape) for shape in ((), (ONE, heads, ONE, size)))
    return whole, channels, StateType(cache.layout, TensorType(DType.F32, (batch, heads, capacity, ONE)))


def token_scale(x: Tensor, codes: DType) -> Tensor:
    """The scale of each token of x [..., size] with which its largest number is a code of that type: [..., 1]."""
    largest = x.abs().amax(-1, keepdim=True)
    return torch.maximum(largest * (1 / Grid(codes).most), torch.tensor(SMALLEST_SCALE, dtype=x.dtype))


@rotary_append.reference
def rotary_append_reference(
    packed: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    past_length: Tensor,
    new_length: Tensor | None,
    cos: Tensor | None,
    sin: Tensor | None,
    key_scale: Tensor | None,
    value_scale: Tensor | None,
    *,
    heads: int,
    query: int,
    key: int,
    value: int,
    interleaved: bool,
) -> tuple[Tensor, ...]:
    def split(start: int, count: int, size: int) -> Tensor:
        columns = packed[..., start : start + count * size]
        return columns.reshape(*columns.shape[:2], count, size).transpose(1, 2)

    def turned(x: Tensor) -> Tensor:
        return x if cos is None or sin is None else _turned(x, cos, sin, interleaved=interleaved)

    def appended(cache: Tensor, new: Tensor, scale: Tensor | None = None) -> Tensor:
        if scale is None:
            codes = new.to(cache.dtype)
        elif cache.dtype == torch.uint8:
            codes = quantize_packed.evaluate([new, scale], {})
        else:
            codes = quantize_tensor.evaluate([new, scale], {"to": DType.I8})
        return kv_append.evaluate([cache, codes, past_length, new_length], {})

    def size(cache: Tensor) -> int:
        return cache.shape[3] * (2 if cache.dtype == torch.uint8 else 1)

    _, kv_heads, capacity, _ = key_cache.shape
    head_size = size(key_cache)
    queries = turned(split(query, heads, head_size))
    keys = turned(split(key, kv_heads, head_size))
    values = split(value, kv_heads, size(value_cache))
    held = appended(key_cache, keys, key_scale)
    if value_scale is None or value_scale.shape != (packed.shape[0], kv_heads, capacity, 1):
        return queries, held, appended(value_cache, values, value_scale)
    fitted = token_scale(values, DType.I4 if value_cache.dtype == torch.uint8 else DType.I8)
    return queries, held, appended(value_cache, values, fitted), appended(value_scale, fitted)


@rotary_append.cost
def rotary_append_cost(op: Op) -> Cost:
    queries, caches = op.results[0].type, op.results[1:]
    packed = op.required("packed").tensor
    batch, sequence, _ = packed.shape
    written = [batch * sequence * v.type.shape[1] * v.type.shape[3] for v in caches]
    numbers = [count * (2 if v.tensor.dtype is DType.U8 else 1) for count, v in zip(written, caches, strict=True)]
    ring = op.operand("new_length") is not None
    # A ring that is shorter than the new tokens takes the last of them.
    writes = tuple(
        least(count * v.tensor.dtype.bits, v.type.bits) if ring else count * v.tensor.dtype.bits
        for count, v in zip(written, caches, strict=True)
    )
    turned = 6 if op.operand("cos") is not None else 0
    coded = (DType.I8, DType.U8)
    rounded = sum(count * 4 for count, v in zip(numbers, caches, strict=True) if v.tensor.dtype in coded)
    unread = {"key_cache": Dim.of(0), "value_cache": Dim.of(0)}
    if len(op.results) == 4:
        unread["value_scale"] = Dim.of(0)
    read = queries.elements + numbers[0] + numbers[1]
    flops = (queries.elements + numbers[0]) * turned + rounded
    return default_cost(op, flops, reads={"packed": read * packed.dtype.bits, **unread}, writes=(queries.bits, *writes))
